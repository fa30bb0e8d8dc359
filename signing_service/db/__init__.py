"""The database: one way to write, one way to read, one way to wait.

Only use cases open transactions. A transaction is never open across the device, a pdf worker or the network.
Every "only once" is a conditional UPDATE whose row count is looked at, or a unique key: row locks are a silent
no-op on SQLite. Transactions are short synchronous blocks; asynchronous callers use `Database.run`.
"""

from signing_service.db.engine import Database

__all__ = ["Database"]
