"""The sample migration: two backends of an order shop, clients that drive them, and what was found.

Law: nothing outside this room imports it, except the verb `demo`; it talks to the sidecar only as
any user would, over HTTP and the command line.
"""
