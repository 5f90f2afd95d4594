"""A desk: the real API over a real database and a real store, and people who use it.

No worker runs behind it: `complete` answers at once, and a test takes the steps of the finalize workflow when it wants to.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx

from rushes import checksum, main
from rushes.config import Settings
from rushes.ingest import grant as granting
from rushes.ingest import tenants, tokens
from rushes.ingest.abort import discard
from rushes.ingest.context import Context
from rushes.model import ChecksumAlgorithm, Principal, Role
from rushes.pipeline.engine import Run
from rushes.pipeline.finalize import run_finalize, run_verify
from rushes.plan import MIN_PART
from rushes.wire import GrantReply, GrantRequest, WantedPart
from tests.api import documented

T = TypeVar("T")
Json = dict[str, Any]

JSON = {"Content-Type": "application/json"}  # for bodies that httpx would not write
TWO_PARTS = MIN_PART + 1_000  # bytes: the smallest kind of file with two parts


KEPT = """SELECT creator, stored, reserved, open_uploads, month_bytes FROM quotas WHERE tenant = %(tenant)s
    UNION ALL SELECT NULL, stored, reserved, open_uploads, month_bytes FROM tenant_quotas WHERE tenant = %(tenant)s
    ORDER BY 1"""
# The same from the rows themselves; the month is this one, as nothing in a test is older.
COUNTED = """SELECT u.creator,
        COALESCE(sum(a.size) FILTER (WHERE u.state = 'ingested' AND a.state <> 'deleted'), 0)::bigint,
        COALESCE(sum(u.size) FILTER (WHERE u.state IN ('initiated', 'uploading', 'finalizing')), 0)::bigint,
        (count(*) FILTER (WHERE u.state IN ('initiated', 'uploading', 'finalizing')))::int,
        COALESCE(sum(u.size) FILTER (WHERE u.state IN ('initiated', 'uploading', 'finalizing', 'ingested')), 0)::bigint
    FROM uploads u JOIN assets a ON a.upload_id = u.id WHERE u.tenant = %(tenant)s
    GROUP BY GROUPING SETS ((u.creator), ()) ORDER BY 1"""


def somebody(role: Role = Role.CREATOR, plan: str = "studio", **changes: Any) -> Principal:
    """A person of a tenant that nobody else is in."""
    return replace(Principal(f"tenant-{uuid4().hex[:12]}", "ann", role, plan), **changes)


def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def crc(data: bytes) -> str:
    return checksum.encode(checksum.crc64nvme(data))


def sum_of(upload: Json, data: bytes) -> str:
    """The checksum that a part of this upload must carry."""
    return checksum.compute(ChecksumAlgorithm(upload["checksum_algorithm"]), data)


def pieces(data: bytes, part_size: int = MIN_PART) -> list[bytes]:
    return [data[start : start + part_size] for start in range(0, len(data), part_size)]


class Directly(Run):
    """Takes a workflow's steps at once, without recording them."""

    async def step(self, name: str, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        return await function(*args)


@dataclass(frozen=True, slots=True)
class At(Context):
    """A context whose clock stands still."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


@dataclass
class Desk:
    settings: Settings
    ctx: Context
    transport: httpx.ASGITransport
    web: httpx.AsyncClient  # to storage, without any authority of its own
    _clients: list[httpx.AsyncClient] = field(default_factory=list)

    def person(self, who: Principal | None = None) -> Person:
        who = who or somebody()
        token = tokens.mint_for(self.settings, who, timedelta(hours=1), datetime.now(UTC))
        return Person(self, who, self.with_token(token))

    def with_token(self, token: str | None) -> httpx.AsyncClient:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        hooks = {"response": [documented.check]}
        http = httpx.AsyncClient(
            transport=self.transport, base_url="http://api", headers=headers, timeout=60, event_hooks=hooks
        )
        self._clients.append(http)
        return http

    async def sql(self, query: str, **args: Any) -> list[tuple[Any, ...]]:
        async with self.ctx.db.transaction() as conn:
            cursor = await conn.execute(query.encode(), args)
            return await cursor.fetchall() if cursor.description else []

    async def in_storage(self, upload: Json) -> tuple[str, str, str]:
        """Bucket, key, and storage's own id of the multipart upload."""
        query = "SELECT bucket, key, storage_upload_id FROM uploads WHERE id = %(id)s"
        ((bucket, key, storage_id),) = await self.sql(query, id=upload["upload_id"])
        return bucket, key, storage_id

    async def original(self, upload: Json) -> bytes:
        """As storage has it."""
        bucket, key, _ = await self.in_storage(upload)
        return b"".join([chunk async for chunk in self.ctx.storage.s3.get_range(bucket, key)])

    async def finalize(self, upload_id: str) -> str:
        """The finalize workflow of the upload's last attempt, here and now, and the reading that it may hand over to."""
        ((attempt,),) = await self.sql("SELECT attempt FROM uploads WHERE id = %(id)s", id=upload_id)
        verdict = await run_finalize(self.ctx, Directly(), upload_id, attempt)
        return verdict if verdict != "verifying" else await run_verify(self.ctx, Directly(), upload_id, attempt)

    async def enqueued(self, like: str) -> list[str]:
        """The ids of the workflows enqueued under names such as this."""
        rows = await self.sql(
            "SELECT workflow_uuid FROM dbos.workflow_status WHERE workflow_uuid LIKE %(like)s", like=like
        )
        return sorted(row[0] for row in rows)

    async def events(self, upload_id: str) -> list[str]:
        rows = await self.sql("SELECT type FROM events WHERE upload_id = %(id)s ORDER BY xid, id", id=upload_id)
        return [row[0] for row in rows]

    async def quota(self, who: Principal) -> tuple[int, int, int]:
        """(stored, reserved, open uploads)"""
        rows = await self.sql(
            "SELECT stored, reserved, open_uploads FROM quotas WHERE tenant = %(tenant)s AND creator = %(creator)s",
            tenant=who.tenant,
            creator=who.creator,
        )
        return rows[0] if rows else (0, 0, 0)

    async def adds_up(self, who: Principal) -> None:
        """Assert that the sums of the tenant of `who`, and of all its creators, are those of their uploads and assets."""
        assert await self.sql(KEPT, tenant=who.tenant) == await self.sql(COUNTED, tenant=who.tenant)

    async def allow(self, who: Principal, *types: str, plans: Any = None, **caps: int | None) -> None:
        """Set, as the operator of the server does, what the tenant of `who` takes and may store."""
        change = tenants.Change(caps=caps, plans=plans or {}, types=types or None)
        await tenants.change(self.ctx.db, who.tenant, change, datetime.now(UTC))

    async def assert_nothing_is_left(self, person: Person, upload: Json) -> None:
        """An upload that failed: its quota is free, nothing of it is published or readable, and discarding it, which is
        enqueued, leaves nothing in storage."""
        id_ = upload["upload_id"]
        assert await self.quota(person.who) == (0, 0, 0)
        asset = await person.asset(upload)
        assert (asset["original_url"], asset["verification"], asset["published_at"]) == (None, None, None)
        assert (await person.read(f"jobs?asset_id={upload['asset_id']}"))["items"] == []
        assert await self.enqueued(f"discard-{id_}") == [f"discard-{id_}"]
        await discard(self.ctx, UUID(id_))
        bucket, key, _ = await self.in_storage(upload)
        assert [found async for found in self.ctx.storage.s3.list_multipart_uploads(bucket, key)] == []
        assert await self.ctx.storage.s3.head(bucket, key) is None

    async def close(self) -> None:
        for http in self._clients:
            await http.aclose()


@dataclass
class Person:
    """Somebody with a token. The methods without a verdict in their name assert that all goes well."""

    desk: Desk
    who: Principal
    http: httpx.AsyncClient

    async def begin(self, size: int | None = 1_000, **fields: Any) -> Json:
        said = {"filename": "take one.mov", "size": size, "content_type": "video/quicktime"}
        answer = await self.http.post("/v1/uploads", json=said | fields)
        assert answer.status_code == 201, answer.text
        return body(answer)

    async def ask(
        self, upload: Json, want: Sequence[tuple[int, str]] = (), done: Sequence[Json] = ()
    ) -> httpx.Response:
        wanted = [{"number": number, "checksum": sum_} for number, sum_ in want]
        return await self.http.post(
            f"/v1/uploads/{upload['upload_id']}/parts", json={"want": wanted, "done": list(done)}
        )

    async def grants(self, upload: Json, data: bytes, numbers: Iterable[int] | None = None) -> list[Json]:
        """Grants for the parts of `data`, in order."""
        parts = pieces(data, upload["part_size"])
        numbers = numbers or range(1, len(parts) + 1)
        answer = await self.ask(upload, [(number, sum_of(upload, parts[number - 1])) for number in numbers])
        assert answer.status_code == 200, answer.text
        return list(body(answer)["grants"])

    async def put(self, grant: Json, data: bytes) -> httpx.Response:
        return await self.desk.web.put(grant["url"], content=data, headers=grant["headers"])

    async def send(self, upload: Json, data: bytes, numbers: Iterable[int] | None = None) -> list[Json]:
        """Send the parts to storage; what there is to report of them."""
        parts = pieces(data, upload["part_size"])
        done = []
        for grant in await self.grants(upload, data, numbers):
            part = parts[grant["number"] - 1]
            answer = await self.put(grant, part)
            assert answer.status_code == 200, answer.text
            done.append({"number": grant["number"], "etag": answer.headers["ETag"], "checksum": sum_of(upload, part)})
        return done

    async def complete(self, upload: Json, done: Sequence[Json] = (), **fields: Any) -> httpx.Response:
        return await self.http.post(f"/v1/uploads/{upload['upload_id']}/complete", json={"done": list(done)} | fields)

    async def read(self, path: str) -> Json:
        answer = await self.http.get(f"/v1/{path}")
        assert answer.status_code == 200, answer.text
        return body(answer)

    async def upload(self, upload: Json) -> Json:
        return await self.read(f"uploads/{upload['upload_id']}")

    async def asset(self, upload: Json) -> Json:
        return await self.read(f"assets/{upload['asset_id']}")

    async def ingest(self, data: bytes = b"not a film", **fields: Any) -> Json:
        """Upload and finalize; the asset is left waiting to be processed."""
        upload = await self.begin(len(data), **fields)
        done = await self.send(upload, data)
        assert (await self.complete(upload, done)).status_code == 202
        assert await self.desk.finalize(upload["upload_id"]) == "ingested"
        return upload

    async def signed_at(self, upload: Json, data: bytes, moment: datetime) -> Json:
        """A grant for part 1, signed at another moment than now."""
        ctx = self.desk.ctx
        then = At(ctx.settings, ctx.db, ctx.storage, ctx.engine, moment)
        wanted = GrantRequest(
            want=[WantedPart(number=1, checksum=sum_of(upload, pieces(data, upload["part_size"])[0]))]
        )
        reply: GrantReply = await granting.grant(then, self.who, UUID(upload["upload_id"]), wanted)
        return reply.grants[0].model_dump(mode="json")


def body(answer: httpx.Response) -> Json:
    found = answer.json()
    assert isinstance(found, dict)
    return found


def problem(answer: httpx.Response, status: int, code: str) -> Json:
    """The problem that an answer must be; its extra facts."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    found = body(answer)
    assert (found["code"], found["status"]) == (code, status), answer.text
    assert found["detail"]
    extra = found["extra"]
    assert isinstance(extra, dict)
    return extra


@asynccontextmanager
async def open_desk(settings: Settings, wait: float = 0) -> AsyncIterator[Desk]:
    """A desk whose `complete` waits `wait` seconds for the verdict."""
    settings = settings.model_copy(update={"complete_wait_seconds": wait})
    application = main.app(settings)
    async with application.router.lifespan_context(application), httpx.AsyncClient(trust_env=False, timeout=60) as web:
        transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
        desk = Desk(settings, application.state.context, transport, web)
        try:
            yield desk
        finally:
            await desk.close()
