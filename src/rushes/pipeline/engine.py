"""The only file that imports DBOS: durable workflows on the same PostgreSQL.

A worker registers its workflows, takes part in dequeuing, and recovers what dead workers left. What comes to exist, in order:

1. `Engine(settings, workflows)`: the workflows by name, registered with the engine under that name.
2. `start`: the engine is launched on the running event loop; all workflows are coroutines on it. Then `Lease` takes this
   worker's lock and watches for workers that are gone (see `rushes.pipeline.lease`).
3. `stop`: running workflows are dropped where they stand and handed back, so that another worker goes on at once.

The engine refuses checkpoints of a run that has been taken over: each run owns its workflow by a token. Our own rows are
fenced by the job's epoch.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from dbos import DBOS, DBOSConfig
from dbos._serialization import DBOSPortableJSONSerializer

from rushes.config import Settings
from rushes.errors import Misconfigured
from rushes.pipeline.lease import SESSION, Lease
from rushes.pipeline.outbox import ENGINE_VERSION
from rushes.pipeline.queues import QUEUES

log = logging.getLogger(__name__)
T = TypeVar("T")
WorkflowFunction = Callable[..., Coroutine[Any, Any, str]]

APP_NAME = "rushes"
CANCEL_AGAIN = 1.0  # seconds after which a workflow that swallowed a cancellation gets another
NO_LIMIT = 1_000_000  # recoveries; jobs give up by their own count (`job_attempts`), with a reason people can read


class Run:
    """What a workflow may ask of the engine. Handed to code that must not know DBOS."""

    async def step(self, name: str, function: Callable[..., Awaitable[T]], *args: Any) -> T:
        """Run `function` once for good: its JSON result is recorded and replayed when the workflow runs again."""

        async def body() -> T:
            return await function(*args)

        return await DBOS.run_step_async({"name": name}, body)


class Engine:
    """The durable engine of one worker process."""

    def __init__(self, settings: Settings, worker_id: str, workflows: Mapping[str, WorkflowFunction]) -> None:
        if settings.database_url is None:
            raise Misconfigured("database_missing", "Set RUSHES_DATABASE_URL; `rushes up` starts a database by itself.")
        self._settings = settings
        self._url = settings.database_url.get_secret_value()
        self._worker_id = worker_id
        self._lease = Lease(self._url, worker_id, settings.takeover_seconds, self._recover)
        config: DBOSConfig = {
            "name": APP_NAME,
            "system_database_url": self._url,
            "application_version": ENGINE_VERSION,
            "executor_id": worker_id,
            "serializer": DBOSPortableJSONSerializer(),
            "run_migrations": False,
            "log_level": "WARNING",
            "sys_db_pool_size": 10,
            "sys_db_idle_transaction_timeout_sec": settings.takeover_seconds * SESSION,
        }
        DBOS(config=config)
        engine_log = logging.getLogger("dbos")  # it brings a handler of its own: one line, one form is enough
        engine_log.handlers.clear()
        engine_log.propagate = True
        self._running: set[asyncio.Task[Any]] = set()
        self._stopping = False
        # All queues are known. Each is served as soon as it is itself, and its work puts other work on others.
        self._ready = asyncio.Event()
        for name, function in workflows.items():
            DBOS.workflow(name=name, max_recovery_attempts=NO_LIMIT)(self._counted(function))

    async def start(self) -> None:
        """Launch; from here on workflows run on this event loop."""
        await self._lease.acquire()
        DBOS.launch()
        for queue in QUEUES:
            limit = queue.per_worker or self._settings.worker_jobs
            await DBOS.register_queue_async(
                queue.name,
                concurrency=queue.altogether,
                worker_concurrency=limit + queue.for_others,
                partition_worker_concurrency=limit if queue.by_tenant else None,
                polling_interval_sec=queue.look_seconds,
                on_conflict="always_update",
            )
        self._ready.set()

    async def watch(self) -> None:
        """Keep this worker's lock and take over from the dead; returns only by raising `Unavailable`: the lock is lost."""
        await self._lease.keep()

    async def stop(self) -> None:
        """Leave: drop what runs (the engine records nothing of it), hand it back to the queues, let go of the lock."""
        self._stopping = True
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running, timeout=CANCEL_AGAIN)
        await asyncio.to_thread(DBOS.destroy)
        await self._lease.hand_back()

    def _counted(self, function: WorkflowFunction) -> WorkflowFunction:
        """The function, known to `stop` while it runs, and never started once stopping has begun."""

        @functools.wraps(function)
        async def counted(*args: Any) -> str:
            task = asyncio.current_task()
            assert task is not None, "workflows are coroutines on the event loop"
            if self._stopping:
                raise asyncio.CancelledError
            self._running.add(task)
            try:
                await self._ready.wait()
                return await function(*args)
            finally:
                self._running.discard(task)

        return counted

    async def _recover(self, worker_id: str) -> None:
        """Put a dead worker's running workflows back on their queues."""
        handles = await asyncio.to_thread(DBOS._recover_pending_workflows, [worker_id])
        log.warning("worker %s is gone; %d of its workflows run again", worker_id, len(handles))


def migrate_engine(url: str) -> None:
    """Bring the engine's own schema up to date."""
    DBOS.migrate(url)
