"""A store behind another port, as behind a proxy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


@asynccontextmanager
async def forwarding(endpoint: str, port: int = 0, rewrite: Callable[[bytes], bytes] = bytes) -> AsyncIterator[str]:
    """The endpoint at `port` of this machine (0: a free one); what clients send passes through `rewrite`."""
    to = urlsplit(endpoint)

    async def pipe(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes] = bytes
    ) -> None:
        while data := await reader.read(65536):
            writer.write(change(data))
            await writer.drain()
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(to.hostname, to.port)
        try:
            await asyncio.gather(pipe(reader, back, rewrite), pipe(there, writer), return_exceptions=True)
        finally:
            back.close()
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", port) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
