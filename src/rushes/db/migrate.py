"""Our own migrations, by Alembic, run from code. An advisory lock lets any number of processes call this at once."""

from __future__ import annotations

from pathlib import Path

import psycopg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, make_url
from sqlalchemy.engine import Engine
from sqlalchemy.pool import NullPool

from rushes.db.database import Conn
from rushes.errors import Misconfigured, Unavailable

_LOCK = 0x727573686573  # "rushes"


def migrate(url: str) -> None:
    """Bring the schema of the database at `url` up to the newest revision."""
    with _lockable(url) as lock:
        lock.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        engine = _engine(url)
        with engine.begin() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        engine.dispose()


def check_reachable(url: str) -> None:
    """Raise `Unavailable` with the reason when no connection can be had, `Misconfigured` when `url` is no address."""
    _lockable(url).close()


def _lockable(url: str) -> psycopg.Connection[tuple[object, ...]]:
    try:
        return psycopg.connect(url, autocommit=True, connect_timeout=10)
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[0]
        raise Unavailable("database_unavailable", f"The database cannot be reached: {reason}") from error
    except psycopg.ProgrammingError as error:  # its text holds the address, password and all
        raise Misconfigured(
            "database_url_invalid",
            "RUSHES_DATABASE_URL is not an address like postgresql://user:password@host:port/name.",
        ) from error


async def schema_is_current(conn: Conn) -> None:
    """Raise `Misconfigured` unless the schema is the one that this program knows."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    cursor = await conn.execute("SELECT to_regclass('alembic_version') IS NOT NULL")
    exists = await cursor.fetchone()
    current = None
    if exists and exists[0]:
        row = await (await conn.execute("SELECT version_num FROM alembic_version")).fetchone()
        current = row and row[0]
    if current != head:
        raise Misconfigured(
            "schema_old", f"The database's schema is {current or 'empty'}, not {head}: run `rushes migrate`."
        )


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def _engine(url: str) -> Engine:
    return create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
