"""SQLite: the journal (what is owed) and the ledger (what was seen), each with its one writer thread.

Law: nobody else touches SQLite. A write is told of as durable only after the commit that holds it.
"""
