"""HTTP/1.1 on asyncio protocols and httptools: the clients' side, the pool of each backend, bodies.

Law: this room knows bytes, connections and deadlines; it knows nothing of writes, stages or sides' roles.
"""
