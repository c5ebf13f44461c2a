"""Everything with a lifetime: sockets, files, tasks, queues, counters.

Law: it decides nothing that a value could decide; decisions are in `rules`.

Rooms: `wire` speaks HTTP/1.1, `store` remembers (journal and ledger), `flow` carries a write
through, `control` steers (settings, metrics, admin port, log), `app` puts it together, `cli` has one
verb per function, `demo` is the main job on two sample backends.

The way of one write: `wire.downstream` -> `flow.door` (plan) -> `flow.write`: `journal.begin`
[durable] -> `upstream.send` -> `journal.settle` -> reply; then `flow.delivery`, in lane order:
identities -> breaker -> `upstream.send` -> compare -> one transaction.
"""
