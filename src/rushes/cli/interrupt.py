"""Ctrl-C, politely: the first one asks the work to stop, the second one breaks it off."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def interruptible(cancel: threading.Event) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM set `cancel`; a second one raises KeyboardInterrupt. Main thread only."""

    def ask(_number: int, _frame: FrameType | None) -> None:
        if cancel.is_set():
            raise KeyboardInterrupt
        cancel.set()

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
