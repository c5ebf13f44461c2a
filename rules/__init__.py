"""Pure decisions: values in, values out.

Law: no I/O, clock, chance, logging, metrics, `async`, or state that outlives the call. Time is an
argument; a rule that needs a look-up says what it wants and is called again with the answer.

Reading order: `message` (the nouns), `stage` and `route` (what happens to a request), `fate` (what
became of a write), `identity` (ids of two sides), `compare` and `diff` (do the replies agree).
"""
