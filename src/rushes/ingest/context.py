"""What every verb needs, built once by the composition root and handed down; and the protocols ingest asks of others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol

from rushes.config import Settings
from rushes.db import Conn, Database
from rushes.ingest.verdicts import Verdicts
from rushes.storage import Storage


@dataclass(frozen=True, slots=True)
class Work:
    """A durable workflow to start. The id makes it single: enqueueing the same id twice starts it once."""

    workflow: str
    id: str
    args: tuple[str | int, ...]
    tenant: str
    priority: int = 0  # higher is earlier
    delay: float = 0  # seconds before it may start
    stage: str = ""  # of a stage: its type, which says where it waits


class Engine(Protocol):
    """The durable side of the system, as ingest sees it.

    There is no cancelling: a run whose job's row is no longer `running` under its own epoch stops within a second.
    """

    async def enqueue(self, conn: Conn, work: Work) -> None:
        """Start `work` when, and only when, the caller's transaction commits."""

    async def move(self, conn: Conn, work: Work) -> None:
        """Give work that waits yet the place in its queue that its priority says now."""

    async def under_way(self, conn: Conn, ids: Sequence[str]) -> bool:
        """Whether any workflow of these ids, or of one that goes on with "-" after such, waits or runs."""

    async def at_rest(self, conn: Conn, ids: Sequence[str]) -> set[str]:
        """Those of these ids of which `under_way` is false. Each is a name, "-" and a UUID."""

    async def known(self, conn: Conn, id_: str) -> bool:
        """Whether the workflow was ever started, as far as that is remembered."""

    async def ended(self, conn: Conn, before: datetime) -> int:
        """How many workflows that ended before this are still remembered."""

    async def forget(self, conn: Conn, before: datetime, limit: int) -> int:
        """Forget at most `limit` of them, the oldest first; returns how many. Their ids may be used again then."""

    async def check(self, conn: Conn) -> None:
        """Raise `Unavailable` unless the engine's schema is there."""


@dataclass(frozen=True, slots=True)
class Context:
    settings: Settings
    db: Database
    storage: Storage
    engine: Engine
    verdicts: Verdicts = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "verdicts", Verdicts(self.db))

    def now(self) -> datetime:
        return datetime.now(UTC)
