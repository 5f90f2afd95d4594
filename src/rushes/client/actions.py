"""What a task may have to do next, and what each of it takes. Pure data, shared by those who decide and those who act."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import ClassVar, NamedTuple

from rushes.client.hedge import Flight
from rushes.errors import Problem
from rushes.wire import DonePart, Grant, WantedPart


class Takes(Enum):
    """What an engine has a bounded number of."""

    LINE = auto()  # a connection that carries media
    READER = auto()  # the disk, and a core for checksums
    QUESTION = auto()  # a short exchange with the server
    THREAD = auto()  # nothing but that: it takes for itself what else it needs


class Room(NamedTuple):
    """What there is place for at this moment, and on how many lines a task may count."""

    line: bool = True
    reader: bool = True
    question: bool = True
    lines: int = 4


@dataclass(frozen=True, slots=True)
class Prepare:
    """Open the file and begin its upload, or find the one begun before."""

    takes: ClassVar[Takes] = Takes.QUESTION


@dataclass(frozen=True, slots=True)
class Read:
    """Compute the checksums of these bytes."""

    number: int
    offset: int
    length: int
    takes: ClassVar[Takes] = Takes.READER


@dataclass(frozen=True, slots=True)
class Ask:
    """Ask for grants and report parts done, in one request; either list may be empty."""

    want: tuple[WantedPart, ...]
    done: tuple[DonePart, ...]
    takes: ClassVar[Takes] = Takes.QUESTION


@dataclass(frozen=True, slots=True)
class Put:
    """Send a part under its grant, or without one by relay, in slices of `slice` bytes (None: whole).

    `fresh` asks for a new connection, with the address looked up anew.
    """

    number: int
    offset: int
    grant: Grant | None
    fresh: bool
    checksum: str = ""
    slice: int | None = None
    flight: Flight | None = None
    takes: ClassVar[Takes] = Takes.LINE


@dataclass(frozen=True, slots=True)
class Complete:
    done: tuple[DonePart, ...]
    checksum: str | None  # of the whole file, where those of its parts combine
    takes: ClassVar[Takes] = Takes.QUESTION


@dataclass(frozen=True, slots=True)
class Look:
    """Ask the server how finalizing goes."""

    takes: ClassVar[Takes] = Takes.QUESTION


@dataclass(frozen=True, slots=True)
class Drive:
    """Stay in the thread until all that a task has is done."""

    takes: ClassVar[Takes] = Takes.THREAD


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`, or (None) before another action's outcome is known or there is more room."""

    until: float | None


@dataclass(frozen=True, slots=True)
class End:
    """It is over: done, or `problem` says why it was given up."""

    problem: Problem | None


Work = Prepare | Read | Ask | Put | Complete | Look | Drive
Action = Work | Wait | End
