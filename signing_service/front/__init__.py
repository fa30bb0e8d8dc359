"""The half that speaks to the world. It holds no key, no PIN and no seed.

A request arrives through bare ASGI layers (`limits`, `callers`): who is asking is known, and everything has a
limit, before one byte of a body is read. A route (`rest` and its neighbours) parses, calls one use case and
renders what it gives; `problems` has the one table from a kind of refusal to an answer. The use cases are the
modules beside this package (`submission`, `confirmation`, `delivery`, …); `Runtime` is what they are handed.
"""
