"""What is to be watched and how, and what a watch tells: plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from rushes.client.job import Job
from rushes.client.limits import Limits
from rushes.client.settling import FIRST_REST
from rushes.client.wish import Wishes
from rushes.errors import Forbidden, Misconfigured, Problem, Unauthenticated

FATAL = (Unauthenticated, Forbidden, Misconfigured)  # the same for every file, until a person acts


class TitleFrom(StrEnum):
    NAME = "name"  # a title for each file
    FOLDER = "folder"  # one for all files of a folder


@dataclass(frozen=True, slots=True)
class Watching:
    """What is to be watched, and how. Without `done`, files stay where they are and are remembered."""

    folder: Path
    done: Path | None = None
    failed: Path | None = None
    settle: float = 10.0  # seconds without a change that make a file finished
    rest: float = FIRST_REST  # seconds before what could not be done is tried again; doubles
    patterns: Sequence[str] = ()
    title_from: TitleFrom = TitleFrom.NAME
    wishes: Wishes = field(default_factory=Wishes)
    limits: Limits | None = None
    retry: bool = False  # try again what has failed and was left where it is


@dataclass(frozen=True, slots=True)
class Told:
    """Something that happened, in words; `kind` is for programs."""

    kind: str  # watching, begun, done, failed, changed, renamed, gone, waiting, paused, away, back, notice
    path: Path | None
    text: str
    job: Job | None = None


@dataclass(slots=True)
class Tally:
    done: int = 0
    failed: int = 0
    waiting: int = 0  # not finished, or not to be uploaded now
    trouble: Problem | None = None  # why the last one waits that does not grow
