"""How a task speaks to the worker: one JSON object a line on what was stdout; everything else printed goes to the
log.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any

from rushes.media.inside.reader import Reader

BROKE = 71  # exit code of a task that failed in a way it did not foresee
_PITCH = 0.2  # seconds between two reports of progress


class Refused(Exception):
    """The media cannot be taken: a code for programs and a sentence for a person."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Voice:
    """The line to the worker."""

    def __init__(self) -> None:
        self._out = os.dup(1)
        os.dup2(2, 1)
        self._next = 0.0

    def progress(self, fraction: float, message: str) -> None:
        """Report how far the task is, 0 to 1; more often than a few times a second is dropped."""
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _PITCH
            self.say({"progress": [fraction, message]})

    def say(self, message: dict[str, Any]) -> None:
        data = json.dumps(message).encode() + b"\n"
        while data:
            data = data[os.write(self._out, data) :]


Task = Callable[[dict[str, Any], Reader, Voice], dict[str, Any]]


def run(task: Task, arguments: dict[str, Any], feed: int) -> None:
    """Run a task and say its result or refusal. Never returns an error: a task that breaks ends the process."""
    voice = Voice()
    try:
        voice.say({"result": task(arguments, Reader(feed, arguments.get("size", 0)), voice)})
    except Refused as refused:
        voice.say({"refused": [refused.code, refused.message]})
    except BaseException:  # noqa: BLE001 - this is where the process ends, with what went wrong in its log
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(BROKE)
