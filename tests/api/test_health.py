"""Liveness and readiness, also of a system of which a part is missing. Neither asks for a token."""

from __future__ import annotations

import asyncio

import psycopg
from pydantic import SecretStr

from rushes.config import Settings
from rushes.db import stores
from rushes.embedded import ports
from rushes.ingest.capabilities import place_of, probe_now
from tests.ingest.equipment import Desk, body, open_desk, problem
from tests.pipeline.equipment import empty_database


async def test_a_whole_system_is_ready(desk: Desk) -> None:
    http = desk.with_token(None)
    answer = await http.get("/readyz")
    assert (answer.status_code, body(answer)) == (
        200,
        {"status": "ok", "checks": {"database": "ok", "engine": "ok", "storage": "ok"}},
    )
    assert (await http.get("/healthz")).status_code == 200


async def test_a_database_without_tables_is_not_ready(settings: Settings) -> None:
    with empty_database(settings) as empty:
        async with open_desk(empty) as desk:
            http = desk.with_token(None)
            answer = await http.get("/readyz")
            checks = body(answer)["checks"]
            assert (answer.status_code, checks["storage"]) == (503, "ok")
            assert "rushes migrate" in checks["database"]
            assert "rushes migrate" in checks["engine"]
            assert (await http.get("/healthz")).status_code == 200


async def test_an_old_schema_is_not_ready(settings: Settings) -> None:
    with empty_database(settings) as old:
        assert old.database_url is not None
        with psycopg.connect(old.database_url.get_secret_value()) as conn:
            conn.execute("CREATE TABLE alembic_version (version_num text)")
            conn.execute("INSERT INTO alembic_version VALUES ('0000')")
        async with open_desk(old) as desk:
            answer = await desk.with_token(None).get("/readyz")
            assert answer.status_code == 503
            assert "0000" in body(answer)["checks"]["database"]


async def test_a_system_without_storage_is_not_ready(settings: Settings) -> None:
    away = settings.model_copy(update={"storage_endpoint": f"http://127.0.0.1:{closed_port()}"})
    async with open_desk(settings) as desk:
        seen = await probe_now(desk.ctx)
    async with open_desk(away) as desk:
        async with desk.ctx.db.transaction() as conn:
            await stores.keep(conn, place_of(desk.ctx), seen.to_json(), desk.ctx.now())
        ann = desk.person()
        upload = await ann.begin()  # begin needs no storage that was seen before
        ready, grants = await asyncio.gather(
            desk.with_token(None).get("/readyz"), ann.ask(upload, [(1, "AAAAAAAAAAA=")])
        )
        checks = body(ready)["checks"]
        assert (ready.status_code, checks["database"], checks["engine"]) == (503, "ok", "ok")
        assert checks["storage"] != "ok"
        problem(grants, 503, "storage_unreachable")
        assert grants.headers["Retry-After"]
        assert body(grants)["permanent"] is False


async def test_a_refused_key_is_not_ready(settings: Settings) -> None:
    wrong = settings.model_copy(update={"storage_secret_key": SecretStr("wrong")})
    async with open_desk(wrong) as desk:
        answer = await desk.with_token(None).get("/readyz")
        assert (answer.status_code, body(answer)["checks"]["storage"] == "ok") == (503, False)


async def test_a_system_without_a_database_says_so(settings: Settings) -> None:
    away = settings.model_copy(update={"database_url": SecretStr(f"postgresql://u:p@127.0.0.1:{closed_port()}/x")})
    async with open_desk(away) as desk:
        http = desk.with_token(None)
        ready, listed, alive = await asyncio.gather(
            http.get("/readyz"), desk.person().http.get("/v1/uploads"), http.get("/healthz")
        )
        checks = body(ready)["checks"]
        assert (ready.status_code, checks["storage"], alive.status_code) == (503, "ok", 200)
        assert checks["database"] != "ok"
        assert checks["engine"] != "ok"
        problem(listed, 503, "database_unavailable")


def closed_port() -> int:
    return next(number for number in range(20_000, 30_000) if ports.is_free(number))
