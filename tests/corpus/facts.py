"""What was identified, beside what the generator made. Pure but for `identified`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rushes.media.identify import identify
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource
from tests.corpus.clip import Clip
from tests.corpus.known import known
from tests.corpus.readers import agree

_SECONDS = 0.1  # that durations may differ by: a frame of picture, and a codec's lead-in and padding of sound
_SHARE = 1e-6  # that other numbers may
_ROUGH = {"duration", "video.duration", "video.gop_seconds"}


@dataclass(frozen=True)
class Difference:
    fact: str
    wanted: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.fact}: {self.wanted!r}, found {self.found!r}"


async def identified(path: Path, sandbox: Sandbox) -> dict[str, Any]:
    """`MediaInfo` as JSON values. Raises Rejected and Unavailable."""
    with tempfile.TemporaryDirectory() as folder:
        job = Path(folder) / "job"
        job.mkdir()
        return (await identify(FileSource(path), job, sandbox)).to_json()


def at(info: Any, fact: str) -> Any:
    """The value at a dotted path; None where there is nothing."""
    for key in fact.split("."):
        if isinstance(info, list):
            info = info[int(key)] if int(key) < len(info) else None
        elif isinstance(info, Mapping):
            info = info.get(key)
    return info


def same(fact: str, wanted: Any, found: Any) -> bool:
    if isinstance(wanted, float | int) and isinstance(found, float | int) and not isinstance(wanted, bool):
        return abs(wanted - found) <= (_SECONDS if fact in _ROUGH else abs(wanted) * _SHARE)
    if isinstance(wanted, list | tuple) and isinstance(found, list | tuple):
        return len(wanted) == len(found) and all(
            same(fact, one, other) for one, other in zip(wanted, found, strict=True)
        )
    return bool(wanted == found)


def differences(clip: Clip, info: dict[str, Any]) -> list[Difference]:
    """Where the file is not what the generator made it. How many frames there are only some containers know."""
    pairs = [(fact, wanted, at(info, fact)) for fact, wanted in clip.expected.items()]
    unknown = {"video.frames"} if at(info, "video.frames") is None else set()
    return [Difference(*pair) for pair in pairs if pair[0] not in unknown and not same(*pair)]


@dataclass(frozen=True)
class Unlike:
    """A fact that another reader sees otherwise; `reason`: why that is known and right, None where it is not."""

    fact: str
    ours: Any
    theirs: Any
    reason: str | None

    def __str__(self) -> str:
        return f"{self.fact}: {self.ours!r}, but {self.theirs!r}"


def unlike(clip: Clip, reader: str, info: dict[str, Any], theirs: dict[str, Any]) -> list[Unlike]:
    """Of all the facts that the reader answers and that can be compared."""
    return [
        Unlike(fact, at(info, fact), value, known(clip.name, reader, fact))
        for fact, value in comparable(info, theirs).items()
        if not agree(fact, at(info, fact), value)
    ]


def comparable(info: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """What another reader says, but for frames that only a reader of the whole file can count."""
    uncounted = {"video.frames"} if at(info, "video.frames") is None else set()
    return {fact: value for fact, value in theirs.items() if fact not in uncounted}
