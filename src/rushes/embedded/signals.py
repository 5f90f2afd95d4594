"""Requests to stop, as signals, and a sleep that they and the death of a child cut short."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Requests:
    """How often this process was asked to stop. Counts nothing until `listening`."""

    def __init__(self) -> None:
        self.count = 0
        self._reader: int | None = None

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Inside, SIGINT, SIGTERM and SIGHUP (a closed terminal) are requests to stop. Main thread only."""
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        # `nohup` ignores SIGHUP on purpose; SIGINT ignored by a shell's `&` is still the way to stop us.
        heard = [number for number in STOPPING if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
        before = {number: signal.signal(number, self._request) for number in heard}
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, _note)
        woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
        self._reader = reader
        try:
            yield
        finally:
            self._reader = None
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(reader)
            os.close(writer)

    def sleep(self, seconds: float) -> None:
        """Until a signal comes, at most `seconds`. One that came since the last sleep ends this one at once."""
        if self._reader is None:
            time.sleep(seconds)
        elif select.select([self._reader], [], [], seconds)[0]:
            os.read(self._reader, 4096)

    def _request(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


def _note(_number: int, _frame: FrameType | None) -> None:
    """A handler, because an ignored SIGCHLD writes nothing to the wakeup pipe."""
