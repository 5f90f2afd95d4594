"""A watch in a thread of its own, and what came of it at the test server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from rushes.client import Client, Journal, Tally, Told, Watching
from rushes.errors import Problem
from tests.client.equipment import TOKEN, Site

SETTLE = 0.3  # seconds
PART = 5 << 20


@dataclass
class Watcher:
    """A watch in a thread of its own, and what it told."""

    site: Site
    watching: Watching
    state: Path
    told: list[Told] = field(default_factory=list)
    tally: Tally | None = None
    error: Problem | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def start(self) -> None:
        self.cancel.clear()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with (
            Journal(self.state) as journal,
            Client(self.site.url, TOKEN, cancel=self.cancel, journal=journal) as client,
        ):
            try:
                self.tally = client.watch(self.watching, on_told=self.told.append)
            except Problem as problem:
                self.error = problem

    def stop(self) -> None:
        self.cancel.set()
        if self.thread is not None:
            self.thread.join()

    def once(self) -> Tally:
        with Journal(self.state) as journal, Client(self.site.url, TOKEN, journal=journal) as client:
            return client.watch(self.watching, once=True, on_told=self.told.append)

    def kinds(self) -> list[str]:
        return [told.kind for told in self.told]

    def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.error is None, self.error
            assert time.monotonic() < deadline, [told.text for told in self.told]
            time.sleep(0.02)

    def heard(self, kind: str, times: int = 1) -> Callable[[], bool]:
        return lambda: self.kinds().count(kind) >= times


def stored(site: Site) -> dict[str, int | None]:
    """{name: CRC64NVME} of what is ingested."""
    found = [upload for upload in site.uploads.values() if upload.state == "ingested"]
    assert len({upload.filename for upload in found}) == len(found), "nothing twice"
    return {upload.filename: upload.crc for upload in found}


def states(site: Site) -> list[str]:
    return [upload.state for upload in site.uploads.values()]


def slow(site: Site) -> threading.Event:
    """Parts wait for the event that is returned."""
    go = threading.Event()
    site.before_put = lambda _number: (go.wait(60), None)[1]
    return go
