"""The connection pool and the one way to a transaction."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any, TypeVar

import psycopg
from psycopg import AsyncConnection, AsyncCursor, errors
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from rushes.errors import Unavailable

# Besides broken connections: deadlocks, a server that is starting, stopping or for the moment a read-only standby, and a
# transaction that the server ended because this process had been frozen in it.
NOT_NOW = (
    psycopg.OperationalError,
    PoolTimeout,
    errors.IdleInTransactionSessionTimeout,
    errors.InFailedSqlTransaction,
    errors.ReadOnlySqlTransaction,
)

Conn = AsyncConnection[TupleRow]
T = TypeVar("T")


class Database:
    """A pool of PostgreSQL connections. Foreign errors that mean "not now" leave as `Unavailable`."""

    def __init__(self, pool: AsyncConnectionPool[Conn]) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Conn]:
        """One transaction: committed when the block ends, rolled back when it raises."""
        try:
            async with self._pool.connection() as conn, conn.transaction():
                yield conn
        except NOT_NOW as error:
            raise Unavailable("database_unavailable", "The database does not answer; try again shortly.") from error

    async def check(self) -> None:
        """Raise `Unavailable` unless the database answers."""
        async with self.transaction() as conn:
            await conn.execute("SELECT 1")


@asynccontextmanager
async def open_database(url: str, size: int, idle_seconds: float) -> AsyncIterator[Database]:
    """A `Database` of at most `size` connections, closed when the block ends.

    The server ends a transaction in which nothing is asked for `idle_seconds`: a process that froze there would hold its
    row locks against whoever takes its work over. Broken connections are noticed before they are handed out, so a
    restarted server costs no request.
    """
    idle = {"options": f"-c idle_in_transaction_session_timeout={round(idle_seconds * 1000)}"}
    pool: AsyncConnectionPool[Conn] = AsyncConnectionPool(
        url,
        min_size=1,
        max_size=size,
        open=False,
        timeout=10,
        check=AsyncConnectionPool.check_connection,
        kwargs={"application_name": "rushes", "connect_timeout": 5, "keepalives_idle": 30} | idle,
    )
    await pool.open(wait=False)
    try:
        yield Database(pool)
    finally:
        await pool.close()


def columns(cls: type[Any], prefix: str = "") -> str:
    """The dataclass's fields as a column list, so that rows and dataclasses cannot drift apart."""
    return ", ".join(prefix + field.name for field in fields(cls))


def row_of(cls: type[T], **convert: Callable[[Any], Any]) -> Callable[[AsyncCursor[Any]], Callable[[Sequence[Any]], T]]:
    """A psycopg row factory that builds `cls`, passing the named columns through `convert` unless they are NULL."""

    def factory(cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], T]:
        names = [column.name for column in cursor.description or ()]

        def make(values: Sequence[Any]) -> T:
            row = dict(zip(names, values, strict=True))
            for name, function in convert.items():
                if row[name] is not None:
                    row[name] = function(row[name])
            return cls(**row)

        return make

    return factory


async def fetch_all(
    conn: Conn, factory: Callable[[AsyncCursor[Any]], Callable[[Sequence[Any]], T]], query: str, args: Mapping[str, Any]
) -> list[T]:
    async with conn.cursor(row_factory=factory) as cursor:
        await cursor.execute(query.encode(), args)
        return await cursor.fetchall()


async def fetch_one(
    conn: Conn, factory: Callable[[AsyncCursor[Any]], Callable[[Sequence[Any]], T]], query: str, args: Mapping[str, Any]
) -> T | None:
    async with conn.cursor(row_factory=factory) as cursor:
        await cursor.execute(query.encode(), args)
        return await cursor.fetchone()
