"""Bodies on their way into storage as they come: one PUT by a presigned URL, in constant memory.

botocore wants bodies it can rewind, and over plain HTTP hashes them first. Here bytes pass once. The last chunk is held
back until the body has ended in good order: storage never sees a whole request whose body was short, long or broken.
A connection is used for one request, and a request is made once: HTTP clients repeat a PUT whose connection broke, which
with half of its bytes gone would store the other half.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Final, Self

import aiohttp
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from botocore.httpsession import get_cert_path
from yarl import URL

from rushes.errors import Invalid, Unavailable
from rushes.storage.endpoint import Endpoint
from rushes.storage.faults import refused, translated

PIECE: Final = 1024**2  # bytes handed to the connection at once; progress is seen at this grain
ERROR_BYTES: Final = 16 * 1024  # of an error's XML
# What aiohttp adds by itself and was not signed.
UNWANTED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Streams:
    """The connections to one endpoint; opened by `async with`. Safe to use from many tasks of one event loop."""

    def __init__(
        self, endpoint: Endpoint, connections: int, *, authorities: str | None, connect_timeout: float, stall: float
    ) -> None:
        """`authorities` is the file of those to trust, `stall` how many seconds storage may take no bytes or no decision."""
        self._endpoint = endpoint
        self._connections = connections
        self._authorities = authorities
        self._timeout = aiohttp.ClientTimeout(total=None, sock_connect=connect_timeout)
        self._stall = stall
        self._stack = AsyncExitStack()
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        secure = self._endpoint.scheme == "https"
        trust = ssl.create_default_context(cafile=self._authorities or get_cert_path(verify=True)) if secure else True
        connector = aiohttp.TCPConnector(limit=self._connections, force_close=True, ssl=trust)
        self._session = await self._stack.enter_async_context(
            aiohttp.ClientSession(
                connector=connector,
                timeout=self._timeout,
                trust_env=not self._endpoint.is_loopback,
                skip_auto_headers=UNWANTED,
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = None
        await self._stack.aclose()

    async def put(
        self, url: str, headers: Mapping[str, str], body: AsyncIterator[bytes], length: int, operation: str
    ) -> str:
        """Send the body and return the answer's ETag. Raises as `S3.stream_part`."""
        if self._session is None:
            raise RuntimeError("S3 is used outside of its `async with`")
        payload = _Once(body, length, self._stall)
        try:
            with translated(operation):
                async with (
                    asyncio.timeout(None) as payload.limit,
                    self._session.put(
                        URL(url, encoded=True), data=payload, headers=headers, allow_redirects=False
                    ) as answer,
                ):
                    etag = answer.headers.get("ETag")
                    error = b"" if answer.ok else await answer.content.read(ERROR_BYTES)
                    answer.close()  # storage may have decided before it had the whole body: nobody waits for the rest
        except Unavailable:
            if payload.failure is not None:
                raise payload.failure from None  # the body broke, not storage
            raise
        if not answer.ok:
            raise refused(operation, answer.status, error)
        if not etag:
            raise Unavailable("storage_failed", "Storage took the bytes but gave no receipt.", operation=operation)
        return etag


class _Once(Payload):
    """A body of known length that can be sent once, and is watched while it is."""

    def __init__(self, body: AsyncIterator[bytes], length: int, stall: float) -> None:
        super().__init__(body)
        self._size = length
        self._body = body
        self._stall = stall
        self.limit: asyncio.Timeout | None = None  # of the whole request: moved on with every piece
        self.failure: Exception | None = None  # what the body itself raised

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._consumed = True  # aiohttp must not try again with what is left
        sent, held = 0, b""
        while True:
            try:
                chunk = await anext(self._body, None)
                sent += len(chunk or b"")
                if sent > self._length or (chunk is None and sent != self._length):
                    raise _wrong_length(self._length, sent)
            except Exception as error:
                self.failure = error
                raise
            if chunk is None:
                break
            if chunk:
                await self._send(writer, held)
                held = chunk
        await self._send(writer, held)
        self._grant(self._stall)  # for the answer

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        await self.write(writer)

    async def _send(self, writer: AbstractStreamWriter, chunk: bytes) -> None:
        for start in range(0, len(chunk), PIECE):
            self._grant(self._stall)
            await writer.write(memoryview(chunk)[start : start + PIECE])
        self._grant(None)  # waiting for the body is its sender's time, which others watch

    def _grant(self, seconds: float | None) -> None:
        """Let the request go on for so many seconds; None: for as long as it takes."""
        if self.limit is not None and not self.limit.expired():
            self.limit.reschedule(None if seconds is None else asyncio.get_running_loop().time() + seconds)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        raise TypeError("a body that passes once cannot be shown")

    @property
    def _length(self) -> int:
        assert self._size is not None, "given to the constructor"
        return self._size


def _wrong_length(length: int, sent: int) -> Invalid:
    message = f"The body was to have {length} bytes, and has {'more' if sent > length else f'only {sent}'}."
    return Invalid("stream_length_wrong", message, length=length)
