"""Uploads of files that were taken away are given up on the server: at once, or when it is back."""

from __future__ import annotations

from collections.abc import Callable, Collection

from rushes.client.journal import Entry
from rushes.client.settling import LONGEST_REST
from rushes.client.uploader import Uploader
from rushes.errors import Problem


class GivingUp:
    """`rest`: seconds until it is tried again; doubles. What is left when the watch ends is the next start's."""

    def __init__(self, uploader: Uploader, rest: float, clock: Callable[[], float]) -> None:
        self._uploader = uploader
        self._rest = rest
        self._clock = clock
        self._left: list[Entry] = []
        self._tries = 0
        self._again_at = 0.0

    def drop(self, entry: Entry) -> None:
        if not self._is_over(entry):
            self._left.append(entry)
            self._put_off()

    def again(self, busy: Collection[int]) -> None:
        """Try again, when it is time to; not rows that are `busy`, or were begun anew: those are another file's by now."""
        while self._left and self._clock() >= self._again_at:
            entry = self._left[0]
            row = self._uploader.journal.get(entry.id)
            if row is not None and row.key == entry.key and row.id not in busy and not self._is_over(entry):
                self._put_off()
                return
            del self._left[0]
            self._tries = 0

    def _is_over(self, entry: Entry) -> bool:
        """Whether it is given up, or never can be."""
        try:
            self._uploader.drop(entry)
        except Problem as problem:
            return problem.permanent
        return True

    def _put_off(self) -> None:
        self._again_at = self._clock() + min(LONGEST_REST, self._rest * 2.0 ** min(self._tries, 16))
        self._tries += 1
