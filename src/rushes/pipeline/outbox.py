"""The engine as ingest sees it: workflows enqueued in the caller's own transaction.

The engine's schema ships a SQL function for that (`enqueue_workflow`, part of its documented portable interface), so a
rollback leaves no workflow, a repeated id starts nothing twice, and an API process need not load the engine at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import psycopg
from psycopg.types.json import Json

from rushes.db import Conn
from rushes.errors import Misconfigured
from rushes.ingest.context import Work
from rushes.pipeline.queues import place_of, queue_of

ENDED = "completed_at < %s AND status IN ('SUCCESS', 'ERROR', 'CANCELLED', 'MAX_RECOVERY_ATTEMPTS_EXCEEDED')"
UNDER_WAY = "status IN ('PENDING', 'ENQUEUED', 'DELAYED')"
ENGINE_VERSION = "1"  # one constant for all releases: workers of any release finish each other's work


class SqlEngine:
    """Implements `rushes.ingest.context.Engine`."""

    async def enqueue(self, conn: Conn, work: Work) -> None:
        queue = queue_of(work)
        await conn.execute(
            """SELECT dbos.enqueue_workflow(workflow_name => %s, queue_name => %s, positional_args => %s::json[],
            workflow_id => %s, app_version => %s, priority => %s, queue_partition_key => %s,
            delay_until_epoch_ms => (extract(epoch FROM now() + %s) * 1000)::bigint)""",
            [
                work.workflow,
                queue.name,
                [Json(argument) for argument in work.args],
                work.id,
                ENGINE_VERSION,
                place_of(work),
                work.tenant if queue.by_tenant else None,
                timedelta(seconds=work.delay) if work.delay else None,
            ],
        )

    async def move(self, conn: Conn, work: Work) -> None:
        await conn.execute(
            "UPDATE dbos.workflow_status SET priority = %s WHERE workflow_uuid = %s AND status = 'ENQUEUED'",
            [place_of(work), work.id],
        )

    async def under_way(self, conn: Conn, ids: Sequence[str]) -> bool:
        cursor = await conn.execute(
            f"""SELECT EXISTS (SELECT FROM dbos.workflow_status WHERE {UNDER_WAY}
            AND (workflow_uuid = ANY(%s) OR workflow_uuid LIKE ANY(%s)))""".encode(),  # noqa: S608
            [list(ids), [f"{id_}-%" for id_ in ids]],  # ids hold neither % nor _
        )
        row = await cursor.fetchone()
        return row is not None and bool(row[0])

    async def at_rest(self, conn: Conn, ids: Sequence[str]) -> set[str]:
        cursor = await conn.execute(
            f"""SELECT id FROM unnest(%s::text[]) AS id WHERE id NOT IN (
                SELECT substring(workflow_uuid FROM '^[a-z]+-[0-9a-f-]{{36}}') AS found FROM dbos.workflow_status
                WHERE {UNDER_WAY} AND workflow_uuid ~ '^[a-z]+-[0-9a-f-]{{36}}')""".encode(),  # noqa: S608
            [list(ids)],
        )
        return {str(row[0]) for row in await cursor.fetchall()}

    async def known(self, conn: Conn, id_: str) -> bool:
        cursor = await conn.execute("SELECT FROM dbos.workflow_status WHERE workflow_uuid = %s", [id_])
        return await cursor.fetchone() is not None

    async def ended(self, conn: Conn, before: datetime) -> int:
        cursor = await conn.execute(f"SELECT count(*) FROM dbos.workflow_status WHERE {ENDED}".encode(), [_ms(before)])  # noqa: S608
        row = await cursor.fetchone()
        return int(row[0]) if row else 0

    async def forget(self, conn: Conn, before: datetime, limit: int) -> int:
        """As the engine's own `delete_workflows`: what hangs on the status row goes with it, payloads have no foreign key."""
        cursor = await conn.execute(
            f"""DELETE FROM dbos.workflow_status WHERE workflow_uuid IN (
                SELECT workflow_uuid FROM dbos.workflow_status WHERE {ENDED} ORDER BY completed_at LIMIT %s
            ) RETURNING workflow_uuid""".encode(),  # noqa: S608
            [_ms(before), limit],
        )
        ids = [row[0] for row in await cursor.fetchall()]
        for table in ("workflow_input", "workflow_output", "operation_outputs"):
            await conn.execute(f"DELETE FROM dbos.{table} WHERE workflow_uuid = ANY(%s)".encode(), [ids])  # noqa: S608
        return len(ids)

    async def check(self, conn: Conn) -> None:
        try:
            await conn.execute("SELECT FROM dbos.dbos_migrations LIMIT 1")
        except psycopg.errors.UndefinedTable as error:
            raise Misconfigured("engine_schema", "The engine's schema is missing: run `rushes migrate`.") from error


def _ms(moment: datetime) -> int:
    """As the engine keeps times: milliseconds since 1970."""
    return int(moment.timestamp() * 1000)
