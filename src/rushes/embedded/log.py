"""The log of the stack: one line an event, with its time and the child it came from, on the terminal and in a file.

12:13:14 postgres  database system is ready to accept connections
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal, TextIO

LEVELS = ("debug", "info", "warning", "error")
FILE_BYTES = 10_000_000

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class Log:
    """Writes lines of at least `level` to `stream`, and to `file` (mode 0600), of which two times 10 MB are kept.

    In `json` form a line that already is a JSON object passes as it is. Anything in `secrets` is written as `•••`.
    Safe to call from several threads.
    """

    def __init__(
        self,
        stream: TextIO | None,
        *,
        file: Path | None = None,
        form: Literal["text", "json"] = "text",
        level: str = "info",
        secrets: Iterable[str] = (),
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._stream = stream
        self._path = file
        self._file = _append(file) if file else None
        self._form = form
        self._least = LEVELS.index(level)
        self._secrets: tuple[str, ...] = ()
        self._clock = clock
        self._lock = threading.Lock()
        self.hide(secrets)

    def hide(self, secrets: Iterable[str]) -> None:
        """Hide these, too, from now on."""
        known = {*self._secrets, *(secret for secret in secrets if secret)}
        # The longest first, or a secret that holds another would be left over in part.
        self._secrets = tuple(sorted(known, key=len, reverse=True))

    def write(self, level: str, name: str, text: str) -> None:
        if LEVELS.index(level) < self._least:
            return
        for secret in self._secrets:
            text = text.replace(secret, "•••")
        line = (self._json if self._form == "json" else self._text)(level, name, text)
        with self._lock:
            self._to_stream(line)
            self._to_file(line)

    def close(self) -> None:
        with self._lock:
            if self._file:
                self._file.close()
                self._file = None

    def _text(self, level: str, name: str, text: str) -> str:
        shown = _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", text)
        marked = f"{level.upper()}: {shown}" if level in {"warning", "error"} else shown
        return f"{time.strftime('%H:%M:%S', time.localtime(self._clock()))} {name:<9} {marked}\n"

    def _json(self, level: str, name: str, text: str) -> str:
        if text.startswith("{") and text.endswith("}"):
            return text + "\n"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._clock()))
        return json.dumps({"time": stamp, "level": level, "name": name, "message": text}) + "\n"

    def _to_stream(self, line: str) -> None:
        if self._stream is None:
            return
        try:
            self._stream.write(line)
            self._stream.flush()
        except (OSError, ValueError):
            # Whoever read it has gone (`rushes up | head`). The children must be read on, or they would block.
            self._stream = None

    def _to_file(self, line: str) -> None:
        if self._file is None or self._path is None:
            return
        try:
            self._file.write(line)
            self._file.flush()
            if self._file.tell() > FILE_BYTES:
                self._file.close()
                self._path.replace(self._path.with_name(self._path.name + ".1"))
                self._file = _append(self._path)
        except OSError as error:
            # A full disk must not stop the reading of the children either.
            self._file = None
            self._to_stream(f"the log file {self._path} cannot be written any more: {error.strerror}\n")


def _append(path: Path) -> TextIO:
    path.touch(mode=0o600, exist_ok=True)
    return path.open("a", encoding="utf-8", errors="replace")
