"""The engine as ingest sees it: workflows enqueued in the caller's own transaction.

The engine's schema ships a SQL function for that (`enqueue_workflow`, part of its documented portable interface), so a
rollback leaves no workflow, a repeated id starts nothing twice, and an API process need not load the engine at all.
"""

from __future__ import annotations

from datetime import timedelta

import psycopg
from psycopg.types.json import Json

from rushes.db import Conn
from rushes.errors import Misconfigured
from rushes.ingest.context import Work
from rushes.pipeline.queues import QUEUE_OF, engine_priority

ENGINE_VERSION = "1"  # one constant for all releases: workers of any release finish each other's work


class SqlEngine:
    """Implements `rushes.ingest.context.Engine`."""

    async def enqueue(self, conn: Conn, work: Work) -> None:
        queue = QUEUE_OF[work.workflow]
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
                engine_priority(work.priority),
                work.tenant if queue.by_tenant else None,
                timedelta(seconds=work.delay) if work.delay else None,
            ],
        )

    async def check(self, conn: Conn) -> None:
        try:
            await conn.execute("SELECT FROM dbos.dbos_migrations LIMIT 1")
        except psycopg.errors.UndefinedTable as error:
            raise Misconfigured("engine_schema", "The engine's schema is missing: run `rushes migrate`.") from error
