"""The connection pool and the one way to a transaction."""

from __future__ import annotations

import select
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import fields
from typing import Any, TypeVar, cast

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

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[Conn]:
        """For queries that need no common transaction: each sees what is committed, and costs one round trip, not three."""
        try:
            async with self._pool.connection() as conn:
                await conn.set_autocommit(True)  # known to this side alone: no round trip
                try:
                    yield conn
                finally:
                    if not conn.closed:
                        await conn.set_autocommit(False)
        except NOT_NOW as error:
            raise Unavailable("database_unavailable", "The database does not answer; try again shortly.") from error

    async def check(self) -> None:
        """Raise `Unavailable` unless the database answers."""
        async with self.reading() as conn:
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
        check=_check,
        kwargs={"application_name": "rushes", "connect_timeout": 5, "keepalives_idle": 30} | idle,
    )
    await pool.open(wait=False)
    try:
        yield Database(pool)
    finally:
        await pool.close()


async def _check(conn: Conn) -> None:
    """Raise when a connection that was idle is broken. Nothing comes unasked, so what can be read is news of its end.

    The system says at once whether there is anything to read; asking the server costs as much as a query.
    """
    idle = select.poll()
    idle.register(conn.fileno(), select.POLLIN)
    if idle.poll(0):
        await AsyncConnectionPool.check_connection(conn)


def columns(cls: type[Any], prefix: str = "") -> str:
    """The dataclass's fields as a column list, so that rows and dataclasses cannot drift apart."""
    return ", ".join(prefix + field.name for field in fields(cls))


def row_of(cls: type[T], **convert: Callable[[Any], Any]) -> Callable[[AsyncCursor[Any]], Callable[[Sequence[Any]], T]]:
    """A psycopg row factory that builds `cls`, passing the named columns through `convert` unless they are NULL."""
    own = {field.name.encode(): place for place, field in enumerate(fields(cast(Any, cls)))}
    functions = [(own[name.encode()], function) for name, function in convert.items()]

    def factory(cursor: AsyncCursor[Any]) -> Callable[[Sequence[Any]], T]:
        result = cursor.pgresult  # asked for names alone: `cursor.description` costs as much as the rest of a row
        names = [result.fname(column) or b"" for column in range(result.nfields)] if result else []
        if names and set(names) != own.keys():
            raise TypeError(f"{cls.__name__} is not made of the columns {names}")
        places = [own[name] for name in names]

        def make(values: Sequence[Any]) -> T:
            row: list[Any] = [None] * len(places)
            for place, value in zip(places, values, strict=True):
                row[place] = value
            for place, function in functions:
                if row[place] is not None:
                    row[place] = function(row[place])
            return cls(*row)

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
