"""The only file that imports DBOS: durable workflows on the same PostgreSQL.

A worker registers its workflows, takes part in dequeuing, and recovers what dead workers left. What comes to exist, in order:

1. `Engine(settings, workflows)`: the workflows by name, registered with the engine under that name.
2. `start`: `Lease` takes this worker's lock, to watch for workers that are gone (see `rushes.pipeline.lease`). The engine is
   launched on the running event loop; all workflows are coroutines on it. Each queue gets its thread, which waits by a bell
   (see `rushes.pipeline.bells`).
3. `stop`: running workflows are dropped where they stand and handed back, so that another worker goes on at once.

The engine refuses checkpoints of a run that has been taken over: each run owns its workflow by a token. Our own rows are
fenced by the job's epoch.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any, TypeVar

from dbos import DBOS, DBOSConfig
from dbos._queue import queue_worker_thread
from dbos._serialization import DBOSPortableJSONSerializer

from rushes.config import Settings
from rushes.db import Database
from rushes.errors import Misconfigured
from rushes.pipeline.bells import Bell, keep_ringing
from rushes.pipeline.lease import SESSION, Lease
from rushes.pipeline.outbox import ENGINE_VERSION
from rushes.pipeline.queues import QUEUES
from rushes.tasks import put_down

log = logging.getLogger(__name__)
T = TypeVar("T")
WorkflowFunction = Callable[..., Coroutine[Any, Any, str]]

APP_NAME = "rushes"
LAST_LOOK = 5.0  # seconds that stopping waits for threads that look into their queues
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

    def __init__(
        self, settings: Settings, worker_id: str, db: Database, workflows: Mapping[str, WorkflowFunction]
    ) -> None:
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
        self._dbos = DBOS(config=config)
        DBOS.listen_queues([])  # not by its own threads
        engine_log = logging.getLogger("dbos")  # it brings a handler of its own: one line, one form is enough
        engine_log.handlers.clear()
        engine_log.propagate = True
        self._running: set[asyncio.Task[Any]] = set()
        self._stopping = False
        self._db = db
        self._bells = {queue.name: Bell(queue.look_seconds) for queue in QUEUES}
        self._threads: list[threading.Thread] = []
        self._ringing: asyncio.Task[None] | None = None
        for name, function in workflows.items():
            DBOS.workflow(name=name, max_recovery_attempts=NO_LIMIT)(self._counted(function))

    async def start(self) -> None:
        """Launch; from here on workflows run on this event loop."""
        await self._lease.acquire()
        DBOS.launch()
        queues = []
        for queue in QUEUES:
            limit = queue.per_worker or self._settings.worker_jobs
            made = await DBOS.register_queue_async(
                queue.name,
                concurrency=queue.altogether,
                worker_concurrency=limit + queue.for_others,
                partition_worker_concurrency=limit if queue.by_tenant else None,
                polling_interval_sec=queue.look_seconds,
                on_conflict="always_update",
            )
            made.database_backed_queue = False  # it is what we say: no need to read its row before each look
            queues.append(made)
        for made in queues:  # once all are known: the work of each puts other work on others
            arguments = (self._bells[made.name], self._dbos, made)
            thread = threading.Thread(target=queue_worker_thread, args=arguments, name=made.name, daemon=True)
            thread.start()
            self._threads.append(thread)
        self._ringing = asyncio.create_task(keep_ringing(self._db, self._bells))

    async def watch(self) -> None:
        """Keep this worker's lock and take over from the dead; returns only by raising `Unavailable`: the lock is lost."""
        await self._lease.keep()

    async def stop(self) -> None:
        """Leave: drop what runs (the engine records nothing of it), hand it back to the queues, let go of the lock."""
        self._stopping = True
        for bell in self._bells.values():
            bell.end()
        while self._running:
            for task in self._running:
                task.cancel()
            await asyncio.wait(self._running, timeout=CANCEL_AGAIN)
        if self._ringing is not None:
            await put_down([self._ringing])
        await asyncio.to_thread(self._join_threads)
        await asyncio.to_thread(DBOS.destroy)
        await self._lease.hand_back()

    def _join_threads(self) -> None:
        """What one of them takes from its queue now would be left for others to take over."""
        deadline = time.monotonic() + LAST_LOOK
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

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
