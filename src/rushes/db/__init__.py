"""PostgreSQL behind one door: a pool, transactions, and one module of queries per noun.

A function that takes `conn` joins the caller's transaction; rows come back as the frozen dataclasses of `rushes.model`.
"""

from rushes.db.database import Conn, Database, open_database
from rushes.db.migrate import check_reachable, migrate, schema_is_current

__all__ = ["Conn", "Database", "check_reachable", "migrate", "open_database", "schema_is_current"]
