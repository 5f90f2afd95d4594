"""Every fault named for finalize, between the service and real storage: never a false success, never two assets, always
recoverable. And bits that flip between a client and storage, or on either side of the API: nothing of it is ever ingested.

Each fault has `SEEDS` uploads of its own; what an upload is like, and when and how often the fault happens, follows from
the seed, which is printed. `make long ROUNDS=200` runs 20 seeds each and 1,000 flips of either kind.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest
from pydantic import SecretStr

from rushes.checksum import HEADERS
from rushes.config import Settings
from rushes.ingest.abort import discard
from rushes.model import ChecksumAlgorithm
from rushes.pipeline.finalize import run_finalize, run_verify
from rushes.plan import KIB, MIB, MIN_PART
from rushes.storage import S3, Credentials
from tests.conftest import ROUNDS, SEED
from tests.ingest.equipment import Desk, Directly, Person, body, open_desk, pieces, problem, some_bytes, sum_of
from tests.pipeline.equipment import database_apart, started, until, worker
from tests.pipeline.fault_proxy import Fault, FaultProxy
from tests.pipeline.faults import ALWAYS, FAULTS, flip, flip_read, flipped, hang

SEEDS = min(20, ROUNDS)
FLIPS = min(1_000, 5 * max(4, ROUNDS))
PATIENCE = 0.7  # seconds that the service waits for a byte from storage; 60 in production
MOST_COMPLETES = 8  # before an upload counts as not recoverable
BYTES = some_bytes(3 * MIN_PART, seed=11)

Json = dict[str, Any]


@pytest.fixture(scope="module")
def inner(settings: Settings) -> Iterator[FaultProxy]:
    """Between the service and storage."""
    assert settings.storage_endpoint is not None
    with FaultProxy(settings.storage_endpoint.removeprefix("http://")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def outer(settings: Settings) -> Iterator[FaultProxy]:
    """Between clients and storage."""
    assert settings.storage_endpoint is not None
    with FaultProxy(settings.storage_endpoint.removeprefix("http://")) as proxy:
        yield proxy


@pytest.fixture(scope="module")
async def desk(settings: Settings, inner: FaultProxy, outer: FaultProxy) -> AsyncIterator[Desk]:
    """A desk whose service is in a hurry, over a database of its own, with a proxy on either way to storage."""
    secret = settings.storage_secret_key or SecretStr("")
    with database_apart(settings) as apart:
        between = apart.model_copy(update={"storage_endpoint": inner.url, "storage_public_endpoint": outer.url})
        async with open_desk(between) as opened:
            storage = opened.ctx.storage
            keys = Credentials(settings.storage_access_key or "", secret.get_secret_value())
            async with S3(storage.s3.endpoint, keys, attempts=2, read_timeout=PATIENCE) as hasty:
                storage.s3 = hasty
                yield opened


# --- between the service and storage ----------------------------------------------------------------------------------


@dataclass
class Case:
    """One upload with its own size, order of parts, lost reports and way of writing ETags."""

    desk: Desk
    rng: random.Random
    ann: Person
    upload: Json
    data: bytes
    reported: float = 0.6  # how likely the report of a part arrives

    @classmethod
    async def begin(cls, desk: Desk, rng: random.Random) -> Case:
        size = rng.choice(
            (rng.randint(1, 2_000), MIN_PART + rng.randint(1, 2_000), 2 * MIN_PART + rng.randint(1, 2_000))
        )
        start = rng.randrange(len(BYTES) - size)
        ann = desk.person()
        algorithm = rng.choice(("crc64nvme", "crc64nvme", "crc32c", "md5", "sha256"))  # the last is read by a worker
        upload = await ann.begin(size, part_size=MIN_PART, checksum_algorithm=algorithm)
        return cls(desk, rng, ann, upload, BYTES[start : start + size])

    def __str__(self) -> str:
        return f"{len(self.data)} bytes in {self.upload['part_count']} parts with {self.upload['checksum_algorithm']}"

    async def send(self, numbers: list[int]) -> list[Json]:
        """Send these parts in any order; what gets reported of them, in any order, ETags quoted or not."""
        done = []
        for number in self.rng.sample(numbers, len(numbers)):
            (one,) = await self.ann.send(self.upload, self.data, [number])
            etag = one["etag"].strip('"')
            if self.rng.random() < self.reported:
                done.append(one | {"etag": self.rng.choice((etag, f'"{etag}"'))})
        return self.rng.sample(done, len(done))

    async def finalize(self) -> tuple[str, Json | None]:
        """Run the workflow, now and then twice at once; the state and the problem it left the upload in."""
        id_ = self.upload["upload_id"]
        ((attempt,),) = await self.desk.sql("SELECT attempt FROM uploads WHERE id = %(id)s", id=id_)
        runs = [run_finalize(self.desk.ctx, Directly(), id_, attempt) for _ in range(self.rng.choice((1, 1, 2)))]
        async with asyncio.timeout(120):
            if "verifying" in await asyncio.gather(*runs):
                await asyncio.gather(*(run_verify(self.desk.ctx, Directly(), id_, attempt) for _ in runs))
        ((state, why),) = await self.desk.sql("SELECT state, problem FROM uploads WHERE id = %(id)s", id=id_)
        return state, why

    async def ingest(self, numbers: list[int]) -> None:
        """As a client does: send, complete, send what is said to be missing, complete again."""
        done = await self.send(numbers)
        for _ in range(MOST_COMPLETES):
            answer = await self.ann.complete(self.upload, done)
            if answer.status_code == 409:
                done = await self.send(problem(answer, 409, "parts_missing")["missing"])
                continue
            assert answer.status_code == 202, answer.text
            state, why = await self.finalize()
            if state == "ingested":
                return
            assert (state, why and why["code"]) == ("uploading", "parts_missing"), why
            assert why is not None
            done = await self.send(why["missing"])
        raise AssertionError(f"still not ingested after {MOST_COMPLETES} completions")

    async def adds_up(self) -> None:
        """One asset of the right bytes; rows, sums and events say the same; storage holds nothing else of it."""
        id_, size = self.upload["upload_id"], len(self.data)
        bucket, key, _ = await self.desk.in_storage(self.upload)
        s3 = self.desk.ctx.storage.s3
        assert await self.desk.original(self.upload) == self.data
        assert [found async for found in s3.list_multipart_uploads(bucket, key)] == []
        assert await self.desk.quota(self.ann.who) == (size, 0, 0)
        assert len((await self.ann.read("assets"))["items"]) == 1
        assert len((await self.ann.read(f"jobs?asset_id={self.upload['asset_id']}"))["items"]) == 1
        events = Counter(await self.desk.events(id_))
        assert (events["upload_started"], events["upload_completed"], events["processing_queued"]) == (1, 1, 1)
        held = "SELECT held_parts, held_bytes FROM uploads WHERE id = %(id)s"
        assert await self.desk.sql(held, id=id_) == [(self.upload["part_count"], size)]
        assert (await self.ann.complete(self.upload)).status_code == 200


@pytest.mark.parametrize("fault", FAULTS)
async def test_an_upload_survives(
    desk: Desk, inner: FaultProxy, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for seed in range(SEED, SEED + SEEDS):
        rng = random.Random(f"{fault} {seed}")
        case = await Case.begin(desk, rng)
        await case.ann.grants(case.upload, case.data, [1])  # opened in storage before anything goes wrong
        faults = FAULTS[fault](rng)
        if all(one.operations == "list" for one in faults):
            case.reported = 0.0  # else storage would not be asked for its list
        inner.arm(rng, *faults)
        try:
            await case.ingest(list(range(1, case.upload["part_count"] + 1)))
        finally:
            inner.arm(rng)
            with capsys.disabled():
                met = "+".join(f"{one.operations} × {one.met}" for one in faults)
                print(f"\n  {fault}: seed {seed}, {case}, happened to {met}", end="")
        await case.adds_up()


async def test_parts_that_were_never_sent_are_asked_for(desk: Desk, inner: FaultProxy) -> None:
    """Granted, perhaps reported, and not there: with storage failing on top of it."""
    for seed in range(SEED, SEED + SEEDS):
        rng = random.Random(f"never sent {seed}")
        case = await Case.begin(desk, rng)
        numbers = list(range(1, case.upload["part_count"] + 1))
        await case.ann.grants(case.upload, case.data, numbers)
        inner.arm(rng, *FAULTS["5xx"](rng))
        await case.ingest(rng.sample(numbers, len(numbers) - 1))
        inner.arm(rng)
        await case.adds_up()


async def test_parts_overwritten_after_the_grant_are_found_out(
    desk: Desk, inner: FaultProxy, outer: FaultProxy
) -> None:
    """An earlier take of a part was granted too, and lands at any moment, the last one included."""
    for seed in range(SEED, SEED + SEEDS):
        rng = random.Random(f"overwritten {seed}")
        case = await Case.begin(desk, rng)
        number = rng.randint(1, case.upload["part_count"])
        earlier = rng.randbytes(len(pieces(case.data)[number - 1]))
        answer = await case.ann.ask(case.upload, [(number, sum_of(case.upload, earlier))])
        (old,) = body(answer)["grants"]
        inner.arm(rng, *FAULTS[rng.choice(list(FAULTS))](rng))
        late = asyncio.create_task(_put_late(case, old, earlier, rng.uniform(0, 0.2)))
        await case.ingest(list(range(1, case.upload["part_count"] + 1)))
        inner.arm(rng)
        await late
        await case.adds_up()


async def _put_late(case: Case, grant: Json, data: bytes, pause: float) -> None:
    await asyncio.sleep(pause)
    answer = await case.ann.put(grant, data)
    assert answer.status_code in {200, 404}  # in time, or the upload is complete already


async def test_an_upload_that_storage_lost_ends_honestly(desk: Desk, inner: FaultProxy) -> None:
    """Nothing can be saved; the client is told so, nothing is left, and the next upload of the file succeeds."""
    for seed in range(SEED, SEED + SEEDS):
        rng = random.Random(f"lost {seed}")
        case = await Case.begin(desk, rng)
        numbers = list(range(1, case.upload["part_count"] + 1))
        done = [one for number in numbers for one in await case.ann.send(case.upload, case.data, [number])]
        bucket, key, storage_id = await desk.in_storage(case.upload)
        await desk.ctx.storage.s3.abort_multipart(bucket, key, storage_id)
        assert (await case.ann.complete(case.upload, done)).status_code == 202
        inner.arm(rng, *FAULTS[rng.choice(("5xx", "hangs", "answers are cut"))](rng))
        state, why = await case.finalize()
        inner.arm(rng)
        assert (state, why and why["code"]) == ("failed", "upload_lost")
        await desk.assert_nothing_is_left(case.ann, case.upload)
        again = Case(desk, rng, case.ann, await case.ann.begin(len(case.data), part_size=MIN_PART), case.data)
        await again.ingest(numbers)


# --- between a client and storage -------------------------------------------------------------------------------------


async def test_no_flipped_bit_is_ingested(desk: Desk, outer: FaultProxy, capsys: pytest.CaptureFixture[str]) -> None:
    """A part whose body changes on its way is refused by storage; completing without it names it as missing."""
    rng = random.Random(SEED)
    answers: Counter[int] = Counter()
    for number in range(FLIPS):
        ann = desk.person()
        algorithm = rng.choice(("crc64nvme", "crc64nvme", "crc32c", "md5", "sha256"))
        data = rng.randbytes(rng.randint(1, 50_000))
        upload = await ann.begin(len(data), checksum_algorithm=algorithm)
        (grant,) = await ann.grants(upload, data)
        fault = Fault("part", flip)
        outer.arm(rng, fault)
        answer = await ann.put(grant, data)
        outer.arm(rng)
        answers[answer.status_code] += 1
        assert fault.met == 1
        assert answer.status_code == 400, (number, algorithm, answer.text)
        assert (await ann.complete(upload)).status_code == 202
        assert await desk.finalize(upload["upload_id"]) == "missing"
        assert (await ann.upload(upload))["held"] == {"parts": 0, "bytes": 0}
        if number % 20:
            assert (await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
            await discard(desk.ctx, UUID(upload["upload_id"]))
        else:
            await Case(desk, rng, ann, upload, data).ingest([1])
    assert await desk.sql("SELECT 1 FROM assets WHERE state = 'published'") == []
    with capsys.disabled():
        print(f"\n  {FLIPS} flips in flight (seed {SEED}): answers {dict(answers)}, none ingested", end="")


# --- through the API --------------------------------------------------------------------------------------------------

SLICE = {"whole": MIN_PART, "slices": MIB, "content": MIN_PART, "content in ranges": 256 * KIB}  # bytes sent at once
# How the file comes, where a bit flips, and what its sender is told. Behind the API: a part on its way into storage, a
# slice on its way there, a slice read again. Nobody claims a checksum of what comes as content: Complete finds that out.
LEGS = [
    ("whole", "before the API", 422, "checksum_mismatch"),
    ("whole", "part", 503, "relay_corrupted"),
    ("slices", "before the API", 422, "checksum_mismatch"),
    ("slices", "put", 202, None),
    ("slices", "get", 202, None),
    ("slices", "part", 503, "relay_corrupted"),
    ("content", "part", 202, None),
    ("content in ranges", "put", 308, None),
    ("content in ranges", "get", 308, None),
    ("content in ranges", "part", 202, None),
]


async def relayed(case: Case, way: str, *, flip_one: bool = False) -> httpx.Response:
    """Send the file through the API; the last answer."""
    data, step = case.data, SLICE[way]
    where = "content" if way.startswith("content") else "parts/1"
    claim = HEADERS[ChecksumAlgorithm(case.upload["checksum_algorithm"])]
    starts = range(0, len(data), step)
    unlucky = case.rng.choice(starts) if flip_one else None
    for start in starts:
        piece = data[start : start + step]
        headers = {} if where == "content" else {claim: sum_of(case.upload, data)}
        if len(starts) > 1:
            headers["content-range"] = f"bytes {start}-{start + len(piece) - 1}/{len(data)}"
        sent = flipped(piece, case.rng) if start == unlucky else piece
        address = f"/v1/uploads/{case.upload['upload_id']}/{where}"
        answer = await case.ann.http.put(address, content=sent, headers=headers)
    return answer


async def one_part(desk: Desk, rng: random.Random, way: str, algorithms: tuple[str, ...], **fields: Any) -> Case:
    size = rng.randint(1, 50_000) + (SLICE[way] if SLICE[way] < MIN_PART else 0)
    data = rng.randbytes(size)
    if "checksum" in fields:
        fields["checksum"] = f"sha256:{hashlib.sha256(data).hexdigest()}"
    ann = desk.person()
    upload = await ann.begin(size, checksum_algorithm=rng.choice(algorithms), **fields)
    return Case(desk, rng, ann, upload, data)


async def test_no_flipped_bit_of_a_relayed_part_is_ingested(
    desk: Desk, inner: FaultProxy, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is refused, nothing of it is held, and the right bytes of the same upload are ingested after."""
    rng = random.Random(SEED)
    answers: Counter[tuple[str, str, int]] = Counter()
    for number in range(FLIPS):
        way, leg, status, code = LEGS[number % len(LEGS)]
        of_content = way.startswith("content")
        algorithms = ("crc64nvme", "crc32c", "sha256") if of_content else ("crc64nvme", "crc32c", "sha256", "md5")
        case = await one_part(desk, rng, way, algorithms)
        fault = Fault(leg, flip_read if leg == "get" else flip)
        inner.arm(rng, fault)
        answer = await relayed(case, way, flip_one=leg == "before the API")
        inner.arm(rng)
        answers[way, leg, answer.status_code] += 1
        assert fault.met == (leg != "before the API")
        said = body(answer).get("code") if answer.content else None
        assert (answer.status_code, said) == (status, code), (number, way, leg, answer.text)
        if of_content and leg == "part":
            assert (await case.finalize())[0] == "uploading"
        now = await case.ann.upload(case.upload)
        assert (now["state"], now["held"]) == ("uploading", {"parts": 0, "bytes": 0})
        assert (await relayed(case, way)).status_code == (202 if of_content else 200)
        await case.ingest([])
        await case.adds_up()
    with capsys.disabled():
        print(f"\n  {FLIPS} flips of relayed parts (seed {SEED}): {dict(answers)}, none ingested", end="")


@pytest.mark.parametrize("leg", ["before the API", "part"])
async def test_what_only_a_reading_can_tell_fails(desk: Desk, inner: FaultProxy, leg: str) -> None:
    """Content without a claim: of a bit that flips before the API only the whole file's declared checksum tells; of one
    behind it, where Complete knows no checksum of the parts, only a reading. The next upload of the file succeeds."""
    rng = random.Random(SEED)
    for way in ("content", "content in ranges"):
        for _ in range(max(1, FLIPS // 20)):
            fields = {"checksum": "declared"} if leg == "before the API" else {}
            case = await one_part(desk, rng, way, ("md5",) if leg == "part" else ("crc64nvme",), **fields)
            inner.arm(rng, fault := Fault(leg, flip))
            assert (await relayed(case, way, flip_one=leg == "before the API")).status_code == 202
            inner.arm(rng)
            assert fault.met == (leg == "part")
            state, why = await case.finalize()
            assert (state, why and why["code"]) == (
                "failed",
                "object_corrupt" if leg == "part" else "checksum_mismatch",
            )
            await desk.assert_nothing_is_left(case.ann, case.upload)
            again = Case(desk, rng, (ann := desk.person()), await ann.begin(len(case.data)), case.data)
            assert (await relayed(again, way)).status_code == 202
            await again.ingest([])
            await again.adds_up()


# --- a reading that its worker does not survive -----------------------------------------------------------------------


async def test_a_reading_is_taken_over_from_a_dead_worker(settings: Settings, inner: FaultProxy) -> None:
    """The first worker is killed while storage keeps it waiting for the object; the second one reads it to its end."""
    inner.arm(random.Random(SEED), stuck := Fault("get", hang, ALWAYS))
    with database_apart(settings) as apart:
        async with open_desk(apart) as desk:
            ann = desk.person()
            data = BYTES[: MIN_PART + 1_000]
            sha256 = hashlib.sha256(data).hexdigest()
            upload = await ann.begin(len(data), part_size=MIN_PART, checksum=f"sha256:{sha256}")
            async with started(apart.model_copy(update={"storage_endpoint": inner.url})) as doomed:
                assert (await ann.complete(upload, await ann.send(upload, data))).status_code == 202
                await until(lambda: _happened(stuck), 60, "nobody reads the object")
                assert (await ann.upload(upload))["state"] == "finalizing"
                doomed.kill()
            async with worker(apart):
                await until(lambda: _is_ingested(ann, upload), 60, "the reading was not taken over")
            assert (await ann.asset(upload))["sha256"] == sha256
            assert await desk.quota(ann.who) == (len(data), 0, 0)
            assert Counter(await desk.events(upload["upload_id"]))["upload_completed"] == 1
    inner.arm(random.Random(SEED))


async def _happened(fault: Fault) -> bool:
    return fault.met > 0


async def _is_ingested(ann: Person, upload: Json) -> bool:
    return bool((await ann.upload(upload))["state"] == "ingested")
