"""A file that must not be opened and an address that must not be called, each of which tells when it was."""

from __future__ import annotations

import asyncio
import ctypes
import os
import secrets
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

_OPEN, _ACCESS = 0x20, 0x1  # inotify(7)


@dataclass
class Canary:
    path: Path
    secret: str  # what is written in the file; an answer that holds it gives it away
    address: str = ""
    calls: list[str] = field(default_factory=list)  # who called the address
    _inotify: int = -1

    def opened(self) -> int:
        """How often the file was opened or read since this was last asked, by any process in any namespace."""
        try:
            data = os.read(self._inotify, 65536)
        except BlockingIOError:
            return 0
        count = 0
        while data:
            length = struct.unpack("iIII", data[:16])[3]
            data = data[16 + length :]
            count += 1
        return count


@asynccontextmanager
async def canary(folder: Path) -> AsyncIterator[Canary]:
    """A file that anybody may read, watched, and a port of this machine that anybody may call."""
    secret = secrets.token_hex(16)
    path = folder / "canary.ts"
    path.write_text(f"{secret}\n" * 200)
    path.chmod(0o644)
    libc = ctypes.CDLL(None, use_errno=True)
    handle = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    assert handle >= 0, os.strerror(ctypes.get_errno())
    assert libc.inotify_add_watch(handle, os.fsencode(path), _OPEN | _ACCESS) >= 0, os.strerror(ctypes.get_errno())
    found = Canary(path, secret, _inotify=handle)

    async def called(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.calls.append(str(writer.get_extra_info("peername")))
        writer.close()

    server = await asyncio.start_server(called, "0.0.0.0", 0)  # noqa: S104 - a tool may try any address of the machine
    found.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        server.close()
        await server.wait_closed()
        os.close(handle)
