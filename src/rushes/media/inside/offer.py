"""A task that says what the kernel offers to confine tasks with."""

from __future__ import annotations

from typing import Any

from rushes.media.inside import talk
from rushes.media.inside.reader import Reader
from rushes.media.jail import landlock, seccomp


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(offer, arguments, feed)


def offer(_: dict[str, Any], __: Reader, ___: talk.Voice) -> dict[str, Any]:
    return {"landlock_abi": landlock.abi(), "seccomp": seccomp.available()}
