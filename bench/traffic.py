"""How many bytes pass the API while a file goes to storage: counted by a proxy at the socket, both ways, headers and all."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

from bench.sending import Sender, token

SIZES = (500_000_000, 1_000_000_000)


class Counter:
    def __init__(self) -> None:
        self.bytes = 0


@asynccontextmanager
async def counting(upstream: str) -> AsyncIterator[tuple[str, Counter]]:
    """(address, what passed) of a proxy to `upstream`."""
    parts, counter = urlsplit(upstream), Counter()
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                counter.bytes += len(data)
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back = await asyncio.open_connection(parts.hostname, parts.port)
        await asyncio.gather(pump(reader, back[1]), pump(back[0], writer))

    def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(both(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", counter
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def show(api: str, store: str, directory: Path) -> None:
    """Print the table: a plain client, and ours as shipped with a file of that size."""
    print("\n| | through the API, bytes | of the file |\n|---|---|---|")
    for size in SIZES:
        async with counting(api) as (url, counter):
            sender = Sender.to(url, store)
            await sender.session(size)
            await sender.close()
        print(f"| {size / 1e6:.0f} MB, a plain client | {counter.bytes:,} | {counter.bytes / size:.6%} |")
        file = directory / "file.mov"
        with file.open("wb") as made:
            made.truncate(size)
        async with counting(api) as (url, counter):
            await shipped(url, file)
        print(f"| {size / 1e6:.0f} MB, the shipped client | {counter.bytes:,} | {counter.bytes / size:.6%} |")


async def shipped(api: str, file: Path) -> None:
    """Our client, as a person starts it; it stops following once the file is ingested."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CLIENT, api, token(), str(file), stdout=asyncio.subprocess.DEVNULL
    )
    if await process.wait() != 0:
        raise SystemExit("the client failed")


CLIENT = """
import sys
from rushes.client import Client
with Client(sys.argv[1], sys.argv[2]) as client:
    client.upload(sys.argv[3], title="Measured")
"""
