"""One upload through the real API with described bodies (see `bench.httpd`): begin, grants in batches, parts, complete.

Part n of a file is the eight bytes of its seed and its number, repeated: all parts differ, and the CRC64NVME of each is found
by doubling, with awscrt's combination. The stand-in finds it by arithmetic of its own.
"""

from __future__ import annotations

import asyncio
import base64
import json
import struct
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from awscrt import checksums

from bench.httpd import Reply, Wire, target_of
from bench.processes import SECRET
from rushes.ingest import tokens
from rushes.model import Principal, Role
from rushes.wire import MAX_GRANTS

Json = dict[str, Any]


def token(creator: str = "bea", tenant: str = "bench") -> str:
    who = Principal(tenant, creator, Role.CREATOR, "studio")
    return tokens.mint(SECRET, "rushes", "rushes", who, timedelta(hours=12), datetime.now(UTC))


def block(seed: int, number: int) -> bytes:
    return struct.pack("<II", seed, number)


@lru_cache(maxsize=100_000)
def crc_of(seed: int, number: int, size: int) -> int:
    """The CRC64NVME of part `number`, `size` bytes long."""
    one = block(seed, number)
    power, length = int(checksums.crc64nvme(one)), len(one)
    times, rest = divmod(size, length)
    whole = 0
    while times:
        if times & 1:
            whole = int(checksums.combine_crc64nvme(whole, power, length))
        power, length = int(checksums.combine_crc64nvme(power, power, length)), length * 2
        times >>= 1
    return int(checksums.combine_crc64nvme(whole, int(checksums.crc64nvme(one[:rest])), rest))


def encoded(crc: int) -> str:
    return base64.b64encode(crc.to_bytes(8, "big")).decode()


class Refusal(Exception):
    """The API answered with something else than what was asked for."""


@dataclass(slots=True)
class Sender:
    """A client of one API, on one connection to it and a few to the store; times and bytes are counted by call."""

    api: Wire
    store: Sequence[Wire]
    headers: Mapping[str, str]
    seconds: dict[str, list[float]] = field(default_factory=dict)

    @classmethod
    def to(cls, api: str, store: str, lines: int = 4, bearer: str | None = None) -> Sender:
        headers = {"Authorization": f"Bearer {bearer or token()}", "Content-Type": "application/json"}
        return cls(Wire(api), [Wire(store) for _ in range(lines)], headers)

    async def call(self, name: str, method: str, path: str, body: Json | None = None, *, accept: int = 200) -> Json:
        start = time.perf_counter()
        data = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        reply = await self.api.request(method, path, self.headers, data)
        self.seconds.setdefault(name, []).append(time.perf_counter() - start)
        if reply.status != accept:
            raise Refusal(f"{name}: {reply.status} {reply.data[:500]!r}")
        found = reply.json()
        assert isinstance(found, dict), "every answer is an object"
        return found

    async def begin(self, size: int, part_size: int | None = None) -> Json:
        body = {"filename": "simulated.mov", "size": size, "content_type": "video/quicktime", "part_size": part_size}
        return await self.call("begin", "POST", "/v1/uploads", body, accept=201)

    async def send(self, begun: Json, size: int, seed: int, batch: int = MAX_GRANTS) -> list[Json]:
        """Grants and parts, a batch at a time; each batch reports the one before. Returns the last batch's reports."""
        done: list[Json] = []
        for first in range(1, begun["part_count"] + 1, batch):
            numbers = range(first, min(first + batch, begun["part_count"] + 1))
            lengths = {n: min(begun["part_size"], size - (n - 1) * begun["part_size"]) for n in numbers}
            want = [{"number": n, "checksum": encoded(crc_of(seed, n, lengths[n]))} for n in numbers]
            path = f"/v1/uploads/{begun['upload_id']}/parts"
            told = await self.call("grant", "POST", path, {"want": want, "done": done})
            done = await self.put(told["grants"], seed)
        return done

    async def put(self, grants: Sequence[Json], seed: int) -> list[Json]:
        waiting = list(reversed(grants))
        done: list[Json] = []

        async def work(wire: Wire) -> None:
            while waiting:
                grant = waiting.pop()
                described = (grant["length"], block(seed, grant["number"]))
                reply = await wire.request("PUT", target_of(grant["url"]), grant["headers"], described=described)
                checksum = next(iter(grant["headers"].values()))
                done.append({"number": grant["number"], "etag": etag_of(reply), "checksum": checksum})

        await asyncio.gather(*(work(wire) for wire in self.store))
        return done

    async def complete(self, begun: Json, done: Sequence[Json], **fields: Any) -> Json:
        path = f"/v1/uploads/{begun['upload_id']}"
        start = time.perf_counter()
        data = json.dumps({"done": list(done)} | fields, separators=(",", ":")).encode()
        reply = await self.api.request("POST", f"{path}/complete", self.headers, data)
        self.seconds.setdefault("complete", []).append(time.perf_counter() - start)
        if reply.status not in {200, 202}:
            raise Refusal(f"complete: {reply.status} {reply.data[:500]!r}")
        status: Json = reply.json()
        while status["upload_state"] == "finalizing":
            await asyncio.sleep(0.05)
            status = await self.call("status", "GET", f"{path}/status")
        if status["upload_state"] != "ingested":
            raise Refusal(f"complete: {status}")
        return status

    async def session(self, size: int, part_size: int | None = None, seed: int = 1) -> Json:
        """Begin to ingested; returns what begin answered."""
        begun = await self.begin(size, part_size)
        await self.complete(begun, await self.send(begun, size, seed))
        return begun

    async def close(self) -> None:
        for wire in (self.api, *self.store):
            await wire.close()


def etag_of(reply: Reply) -> str:
    if reply.status != 200:
        raise Refusal(f"put: {reply.status} {reply.data[:500]!r}")
    return reply.headers["etag"]
