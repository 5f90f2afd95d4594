"""Bodies that pass through: into a real store whole or not at all, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from rushes.checksum import crc64nvme, encode
from rushes.errors import Invalid, NotFound, Rejected, Unavailable
from rushes.storage import S3, Credentials, DonePart, Endpoint, Storage

from . import scripted
from .test_multipart import ALGORITHMS

RANDOM = random.Random(20261121)
MIB = 1024**2


async def pieces(body: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]


class Upload:
    """An open multipart upload that parts are streamed into."""

    def __init__(self, storage: Storage, key: str, storage_upload_id: str) -> None:
        self.storage, self.bucket, self.key, self.id = storage, storage.originals.bucket, key, storage_upload_id

    async def stream(self, number: int, body: AsyncIterator[bytes], length: int, **checksum: str) -> str:
        s3, now = self.storage.s3, datetime.now(UTC)
        return await s3.stream_part(self.bucket, self.key, self.id, number, body, length=length, at=now, **checksum)

    async def held(self) -> list[tuple[int, int]]:
        listed = await self.storage.s3.list_parts(self.bucket, self.key, self.id)
        return [(part.number, part.size) for part in listed]


async def opened(storage: Storage, algorithm: str = "crc64nvme") -> Upload:
    key = f"{storage.originals.prefix}stream/{uuid4()}"
    return Upload(
        storage, key, await storage.s3.create_multipart(storage.originals.bucket, key, checksum_algorithm=algorithm)
    )


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_streamed_part_is_the_part_and_another_is_refused(storage: Storage, algorithm: str) -> None:
    upload, body = await opened(storage, algorithm), RANDOM.randbytes(3 * MIB + 17)
    right, wrong = ALGORITHMS[algorithm](body), ALGORITHMS[algorithm](body[1:])
    with pytest.raises(Rejected) as raised:
        await upload.stream(1, pieces(body), len(body), checksum=wrong, algorithm=algorithm)
    assert raised.value.code == "storage_checksum_mismatch"
    assert await upload.held() == []
    etag = await upload.stream(1, pieces(body), len(body), checksum=right, algorithm=algorithm)
    assert '"' not in etag
    assert await upload.held() == [(1, len(body))]
    await storage.s3.abort_multipart(upload.bucket, upload.key, upload.id)


async def test_parts_and_objects_are_read_back_as_sent(storage: Storage) -> None:
    upload, bodies = await opened(storage), [RANDOM.randbytes(5 * MIB), RANDOM.randbytes(12_345)]
    etags = [await upload.stream(number, pieces(body), len(body)) for number, body in enumerate(bodies, 1)]
    whole = b"".join(bodies)
    await storage.s3.complete_multipart(
        upload.bucket,
        upload.key,
        upload.id,
        [DonePart(number, etag) for number, etag in enumerate(etags, 1)],
        checksum=encode(crc64nvme(whole)),
        size=len(whole),
    )
    assert b"".join([chunk async for chunk in storage.s3.get_range(upload.bucket, upload.key)]) == whole
    for body in (whole, b"x", b""):
        etag = await storage.s3.stream_object(
            upload.bucket,
            upload.key,
            pieces(body, 3 * MIB),
            length=len(body),
            at=datetime.now(UTC),
            checksum=encode(crc64nvme(body)),
        )
        found = await storage.s3.head(upload.bucket, upload.key)
        assert found is not None
        assert (found.size, found.etag, found.checksum) == (len(body), etag, encode(crc64nvme(body)))


async def test_a_body_that_is_short_long_or_breaks_is_not_stored(storage: Storage) -> None:
    upload, body = await opened(storage), RANDOM.randbytes(2 * MIB)

    async def broken() -> AsyncIterator[bytes]:
        yield body
        raise ConnectionResetError("the sender left")

    async def spoiled() -> AsyncIterator[bytes]:
        yield body
        raise Rejected("checksum_mismatch", "Known at the very end.")

    for length in (len(body) - 1, len(body) + 1):
        with pytest.raises(Invalid) as invalid:
            await upload.stream(1, pieces(body), length)
        assert invalid.value.code == "stream_length_wrong"
    with pytest.raises(ConnectionResetError):
        await upload.stream(1, broken(), len(body) + 5)
    with pytest.raises(Rejected, match="very end"):
        await upload.stream(1, spoiled(), len(body))
    assert await upload.held() == []
    await storage.s3.abort_multipart(upload.bucket, upload.key, upload.id)
    with pytest.raises(NotFound) as unknown:
        await upload.stream(1, pieces(body), len(body))
    assert unknown.value.code == "storage_upload_unknown"


def client(endpoint: str, stall: float = 60) -> S3:
    return S3(
        Endpoint.parse(endpoint, region="us-east-1", addressing="path"), Credentials("a", "b"), read_timeout=stall
    )


async def send(s3: S3, body: AsyncIterator[bytes], length: int) -> str:
    return await s3.stream_object("bucket", "key", body, length=length, at=datetime.now(UTC))


async def for_ever() -> AsyncIterator[bytes]:
    yield b"begun"
    yield b" and"
    await asyncio.Event().wait()


async def test_storage_that_decides_early_is_heard_at_once() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(scripted.error("503 Slow Down", "SlowDown"))
        await writer.drain()
        await reader.read()  # until the client closes
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server, client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as s3:
        with pytest.raises(Unavailable) as raised:
            await asyncio.wait_for(send(s3, for_ever(), 1000), 60)
        assert raised.value.code == "storage_busy"


async def test_a_broken_connection_is_not_tried_again() -> None:
    requests = 0

    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        requests += 1
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    server = await asyncio.start_server(cut, "127.0.0.1", 0)
    async with server, client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as s3:
        for length in (5 * MIB, 1):
            with pytest.raises(Unavailable) as raised:
                await asyncio.wait_for(send(s3, pieces(bytes(length)), length), 60)
            assert raised.value.code == "storage_unreachable"
    assert requests == 2


async def test_storage_that_takes_nothing_or_never_answers_is_given_up() -> None:
    async def sit(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()
        writer.close()

    stop = asyncio.Event()
    server = await asyncio.start_server(sit, "127.0.0.1", 0, limit=1000)
    async with server, client(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", stall=0.3) as s3:
        for body, length in ((pieces(bytes(64 * MIB), 8 * MIB), 64 * MIB), (pieces(b"x"), 1)):
            with pytest.raises(Unavailable) as raised:
                await asyncio.wait_for(send(s3, body, length), 60)
            assert raised.value.code == "storage_timeout"
        stop.set()


async def test_a_slow_sender_is_not_storages_fault(storage: Storage) -> None:
    fast = S3(storage.s3.endpoint, await storage.s3.credentials(), read_timeout=3)  # which a busy store needs
    waited = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"first"
        asyncio.get_running_loop().call_later(4, waited.set)
        await waited.wait()
        yield b"last"

    async with fast:
        await fast.stream_object(
            storage.incoming.bucket, f"{storage.incoming.prefix}slow", slow(), length=9, at=datetime.now(UTC)
        )


async def test_an_answer_without_a_receipt_is_no_success() -> None:
    async with scripted.serving(lambda *_: scripted.answer("200 OK")) as (endpoint, _), client(endpoint) as s3:
        with pytest.raises(Unavailable) as raised:
            await send(s3, pieces(b"x"), 1)
        assert raised.value.code == "storage_failed"
