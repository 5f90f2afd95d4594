"""A server that answers as told: stores that fail, and stores that take everything, on a real socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

# (method, path with query) → the raw bytes of the whole answer; None: never answer.
Script = Callable[[str, str], bytes | None]


def answer(status: str, body: str = "", *, length: int | None = None, **headers: str) -> bytes:
    """An HTTP answer; with `length` it promises another length than it has."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body) if length is None else length}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", body]).encode()


def error(status: str, code: str) -> bytes:
    return answer(status, f"<Error><Code>{code}</Code><Message>said by the script</Message></Error>")


@asynccontextmanager
async def serving(script: Script) -> AsyncIterator[tuple[str, list[str]]]:
    """(endpoint, the requests that came: "PUT /bucket/key?…")."""
    seen: list[str] = []
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, path, _ = head.split(" ", 2)
        seen.append(f"{method} {path}")
        told = script(method, path)
        if told is not None:
            if "expect: 100-continue" in head.lower():
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = next((line[15:] for line in head.lower().split("\r\n") if line.startswith("content-length:")), "0")
            await reader.readexactly(int(length))
            writer.write(told)
            await writer.drain()
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await server.wait_closed()
