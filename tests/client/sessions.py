"""Sessions of made-up files, and the shortest ways to bring one where a test wants it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from rushes.checksum import encode
from rushes.client.actions import Ask, End, Put, Read
from rushes.client.limits import Limits
from rushes.client.session import Session
from rushes.client.verdict import Move, Verdict
from rushes.errors import Forbidden, Problem, Rejected, Unavailable
from rushes.model import Way
from rushes.plan import PartPlan
from rushes.wire import Grant, HeldPart

DAWN = datetime(2026, 1, 1, tzinfo=UTC)
DOWN = Unavailable("network_broken", "The connection broke.")
RETRY = Verdict(Move.RETRY, DOWN)
EXPIRED = Verdict(Move.REGRANT, Forbidden("grant_refused", "Expired."))
CORRUPT = Verdict(Move.REREAD, Unavailable("part_corrupted", "Other bytes."))
REFUSED = Verdict(Move.GIVE_UP, Rejected("part_refused", "No."))


def crc_of(number: int) -> int:
    return number * 0x9E3779B97F4A7C15 % 2**64


def plan_of(parts: int, part_size: int = 100) -> PartPlan:
    return PartPlan(parts * part_size - 1, part_size, parts)


def session_of(parts: int = 3, held: Iterable[HeldPart] = (), **limits: float) -> Session:
    wanted = Limits(**{"parallel": 4, "hedge_share": 0.0, "stagger": 0.0} | limits)  # type: ignore[arg-type]
    return Session(plan_of(parts), wanted, held, chance=lambda: 0.5)


def grant_of(number: int) -> Grant:
    url = f"https://store/{number}"
    return Grant(number=number, url=url, method="PUT", headers={}, length=1, expires_at=DAWN)


def answer(session: Session, ask: Ask, now: float, life: float = 1000.0) -> None:
    grants = [grant_of(part.number) for part in ask.want]
    session.was_answered(ask, grants, {grant.number: life for grant in grants}, now)


def held_part(number: int, checksum: str | None = None) -> HeldPart:
    checksum = checksum or encode(crc_of(number))
    return HeldPart(number=number, size=100, checksum=checksum, etag="e", way=Way.DIRECT, held_at=DAWN)


def put_of(session: Session, now: float = 0.0, life: float = 1000.0) -> Put:
    """Read, ask and answer until a part may be put."""
    for _ in range(20):
        action = session.next(now)
        match action:
            case Read():
                session.was_read(action.number, crc_of(action.number), now)
            case Ask():
                answer(session, action, now, life)
            case Put():
                return action
            case _:
                pytest.fail(f"{action} came before a put")
    raise AssertionError("no put")


def ask_of(session: Session, now: float) -> Ask:
    for _ in range(20):
        action = session.next(now)
        if isinstance(action, Read):
            session.was_read(action.number, crc_of(action.number), now)
        elif isinstance(action, Ask):
            return action
        else:
            pytest.fail(f"{action} came before a question")
    raise AssertionError("no question")


def end_of(session: Session, now: float = 0.0) -> Problem | None:
    action = session.next(now)
    assert isinstance(action, End)
    return action.problem
