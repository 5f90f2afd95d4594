"""The composition root: settings become a database, a storage, an engine, an app, a worker. Nothing is built at import."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import logging
import os
import resource
import secrets
import signal
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI
from granian import Granian
from granian.constants import Interfaces, Loops
from granian.log import LogLevels

from rushes.api import create_app
from rushes.config import Settings
from rushes.db import migrate as migrate_tables
from rushes.db import open_database
from rushes.errors import Misconfigured, Problem, Unavailable
from rushes.events import Feed
from rushes.ingest import capabilities, doctor, ownership, tokens
from rushes.ingest.context import Context
from rushes.ingest.diagnosis import Finding, of_environment, of_problem, unknown_variables
from rushes.ingest.intake import Relays
from rushes.pipeline.lease import SESSION
from rushes.pipeline.outbox import SqlEngine
from rushes.storage import Storage, allow_origins, ensure_bucket, open_storage
from rushes.telemetry import configure_logs

if TYPE_CHECKING:
    from rushes.pipeline.engine import Engine

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1
API_PID = "RUSHES_API_PID"  # by which granian's processes know their parent
STOP_SECONDS = 10  # an open connection cannot hold a stopping API longer
LEAVE_SECONDS = 3  # for what runs beside to tidy up
WORKER_STOP_SECONDS = 20  # a worker that cannot leave in good order by then just leaves
REQUESTS = 1_024  # connections of one process besides those of event streams
OTHER_FILES = 256  # that one process holds open: database, storage, libraries
EX_TEMPFAIL = 75  # sysexits.h: the worker must be started anew


@asynccontextmanager
async def open_context(settings: Settings) -> AsyncIterator[Context]:
    async with (
        open_database(database_url(settings), settings.database_pool, settings.takeover_seconds * SESSION) as db,
        open_storage(settings) as storage,
    ):
        yield Context(settings, db, storage, SqlEngine())


@asynccontextmanager
async def beside(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    """Run `work` while the block lasts; should it break, that is an error in the log and nothing else stops."""
    task = asyncio.create_task(work)
    task.add_done_callback(_tell)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task}, timeout=LEAVE_SECONDS)


def _tell(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a background task broke", exc_info=error)


def database_url(settings: Settings) -> str:
    if settings.database_url is None:
        raise Misconfigured("database_missing", "Set RUSHES_DATABASE_URL; `rushes up` starts a database by itself.")
    return settings.database_url.get_secret_value()


# --- migrate ----------------------------------------------------------------------------------------------------------


def _open_log(settings: Settings) -> None:
    """Log lines as the settings want them; the first ones tell of variables that are none of ours."""
    configure_logs(settings.log_level, settings.log_format)
    for name, advice in unknown_variables(os.environ):
        log.warning("%s is not a setting of rushes. %s", name, advice)


def migrate(settings: Settings) -> None:
    """Bring both schemas up to date and, where we may, create the buckets."""
    from rushes.pipeline.engine import migrate_engine  # noqa: PLC0415 - the API never loads the engine

    _open_log(settings)
    migrate_tables(database_url(settings))
    migrate_engine(database_url(settings))
    if settings.create_buckets:
        asyncio.run(_create_buckets(settings))


async def _create_buckets(settings: Settings) -> None:
    async with open_storage(settings) as storage:
        for bucket in storage.buckets:
            await ensure_bucket(storage.s3, bucket)
            await allow_origins(storage.s3, storage.places_in(bucket), settings.cors_origins)


# --- doctor -----------------------------------------------------------------------------------------------------------


async def diagnose(settings: Settings, names: Iterable[str], *, fix: bool, anew: bool) -> list[Finding]:
    """Look at everything that the settings name; with `fix`, mend the buckets first; with `anew`, probe storage again.

    `names` are the environment's variables.
    """
    findings: list[Finding] = []
    if settings.database_url is None:
        findings.append(doctor.NO_DATABASE)
    async with AsyncExitStack() as stack:
        storage = await _storage_to_examine(settings, stack, findings)
        context: Context | None = None
        if settings.database_url is not None:
            url, idle = settings.database_url.get_secret_value(), settings.takeover_seconds * SESSION
            db = await stack.enter_async_context(open_database(url, 2, idle))
            engine = SqlEngine()
            findings += await doctor.database(url, db, engine)
            if storage is not None and not any(finding.level == "problem" for finding in findings):
                context = Context(settings, db, storage, engine)
        if storage is not None:
            findings += await doctor.storage(settings, storage, context, fix=fix, anew=anew)
    findings += [*await doctor.media(settings), *doctor.disk(settings), *of_environment(names)]
    return findings


async def _storage_to_examine(settings: Settings, stack: AsyncExitStack, findings: list[Finding]) -> Storage | None:
    if settings.database_url is None and settings.storage_endpoint is None and settings.storage_access_key is None:
        return None  # nothing is configured: then AWS is not meant
    try:
        return await stack.enter_async_context(open_storage(settings))
    except Problem as problem:
        findings.append(of_problem("storage", problem))
        return None


# --- API --------------------------------------------------------------------------------------------------------------


def run_api(settings: Settings) -> None:
    """Serve the API until SIGTERM. Granian's processes read the settings from the environment, as this one did."""
    _open_log(settings)
    _check_named(settings)
    tokens.own_secret(settings)
    database_url(settings)
    _check_port(settings.api_host, settings.api_port)
    os.environ[API_PID] = str(os.getpid())
    connections = _room_for_connections(settings.event_streams + REQUESTS)
    Granian(
        "rushes.main:app_from_environment",
        factory=True,
        address=settings.api_host,
        port=settings.api_port,
        interface=Interfaces.ASGI,
        loop=Loops.asyncio,
        workers=settings.api_workers,
        backlog=min(connections, 4_096),
        backpressure=connections,  # open streams count, and must not keep requests out
        workers_kill_timeout=STOP_SECONDS,
        respawn_failed_workers=True,
        log_level=LogLevels(settings.log_level),
        log_access=False,
    ).serve()


def _check_named(settings: Settings) -> None:
    """Raise `Misconfigured` that names all settings that an API cannot do without, where several are missing."""
    needed = {
        "RUSHES_TOKEN_SECRET (a random text of at least 32 bytes)": settings.token_secret,
        "RUSHES_DATABASE_URL (postgresql://…)": settings.database_url,
    }
    missing = [name for name, found in needed.items() if found is None]
    if len(missing) > 1:
        storage = "" if settings.storage_endpoint else ", and RUSHES_STORAGE_ENDPOINT where storage is not AWS"
        raise Misconfigured(
            "settings_missing", f"Set {', '.join(missing)}{storage}. `rushes up` starts a whole server without any."
        )


def _room_for_connections(wanted: int) -> int:
    """Raise the limit of open files as far as it may go; the connections there is room for, of those wanted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = wanted + OTHER_FILES
    if soft < files:
        soft = files if hard == resource.RLIM_INFINITY else min(files, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return max(min(wanted, soft - OTHER_FILES), REQUESTS // 2)


def _room_for_streams(settings: Settings) -> int:
    """Event streams that one process may keep: as many as are wished for, less where the system's limit is low."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(settings.event_streams, max(soft - OTHER_FILES - REQUESTS // 2, REQUESTS // 4))


def _check_port(host: str, port: int) -> None:
    """Raise `Unavailable` when another program listens there: granian would share the port with it and say nothing."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise Unavailable(
                "port_taken", f"The API cannot listen on {host} port {port}: {error.strerror}."
            ) from error


def app_from_environment() -> FastAPI:
    """What each of granian's processes runs."""
    die_with_parent()
    settings = Settings()
    configure_logs(settings.log_level, settings.log_format)
    return app(settings, on_start=_started)


def app(settings: Settings, *, on_start: Callable[[Sequence[Callable[[], None]]], None] | None = None) -> FastAPI:
    verifier = tokens.Verifier(settings)

    @asynccontextmanager
    async def lifespan(application: FastAPI) -> AsyncIterator[None]:
        async with open_context(settings) as context:
            feed, relays = Feed(context.db, most=_room_for_streams(settings)), Relays(settings.relay_most)
            application.state.context = context
            application.state.verifier = verifier
            application.state.relays = relays
            application.state.feed = feed
            if on_start is not None:
                on_start((feed.stop, relays.stop))
            try:
                async with beside(capabilities.keep_fresh(context)), beside(ownership.keep_claimed(context)):
                    yield
            finally:
                await feed.close()

    return create_app(lifespan, settings.cors_origins)


def _started(stops: Sequence[Callable[[], None]]) -> None:
    """What a process that does nothing but serve sees to when it is ready."""
    _hurry_on_signal(stops)
    gc.collect()
    gc.freeze()  # what is loaded by now stays: later collections need not look at it


def _hurry_on_signal(stops: Sequence[Callable[[], None]]) -> None:
    """End event streams, and stop waiting for silent senders, when the process is told to stop: granian waits for open
    answers before it says so itself.

    The event loop has granian's own handlers for these signals. It hears of them by its wake-up descriptor, whatever Python
    function is set beside that, so this one comes in addition.
    """
    loop = asyncio.get_running_loop()

    def heard(*_: object) -> None:
        for stop in stops:
            loop.call_soon_threadsafe(stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, heard)
        signal.siginterrupt(number, False)


def die_with_parent() -> None:
    """A process whose parent was killed must not go on holding the port."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if str(os.getppid()) != os.environ.get(API_PID):
        raise SystemExit(EX_TEMPFAIL)  # it died before the kernel was told


# --- worker -----------------------------------------------------------------------------------------------------------


def run_worker(settings: Settings) -> int:
    """Work until SIGTERM or SIGINT; exits with the status. A lost lock ends in EX_TEMPFAIL: start it anew."""
    _open_log(settings)
    return asyncio.run(_work(settings))


async def _work(settings: Settings) -> int:
    from rushes.media.sandbox import detect  # noqa: PLC0415
    from rushes.media.tryout import try_encoders  # noqa: PLC0415
    from rushes.pipeline.engine import Engine  # noqa: PLC0415 - the API never loads the engine
    from rushes.pipeline.scratch import Scratch  # noqa: PLC0415
    from rushes.pipeline.sweep import keep_sweeping  # noqa: PLC0415
    from rushes.pipeline.work import Bench  # noqa: PLC0415
    from rushes.pipeline.workflows import workflows  # noqa: PLC0415

    worker_id = f"{os.uname().nodename}-{os.getpid()}-{secrets.token_hex(4)}"
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def leave() -> None:
        if not stop.is_set():
            stop.set()
            _leave_by(WORKER_STOP_SECONDS)  # also of a worker that has not begun yet, because the database stands still

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, leave)
    with Scratch(settings.scratch(), worker_id) as scratch:
        async with open_context(settings) as context:
            bench = Bench(scratch.directory, await detect(), settings.scratch_bytes)
            log.info("media tools run confined: %s", bench.sandbox.describe())
            await try_encoders(bench.sandbox, (settings.video_encoder, settings.video_second), settings.video_device)
            engine = Engine(settings, worker_id, context.db, workflows(context, bench))
            await engine.start()
            log.info("worker %s is ready", worker_id)
            async with (
                beside(capabilities.keep_fresh(context)),
                beside(ownership.keep_claimed(context)),
                beside(keep_sweeping(context)),
            ):
                status = await _until_stopped(engine, stop)
        scratch.clear()
    # The engine's threads retry for ever against a database that is gone; what was to be kept is kept by now.
    logging.shutdown()
    os._exit(status)


async def _until_stopped(engine: Engine, stop: asyncio.Event) -> int:
    """Work until `stop`, then leave in good order; or until the worker's lock is lost, then leave at once."""
    watch = asyncio.create_task(engine.watch())  # goes on while stopping: the work is ours until it is handed back
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({watch, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if watch.done():
        log.error("the worker's lock is lost: %s", watch.exception())
        os._exit(EX_TEMPFAIL)  # its tools die with it; what runs here belongs to somebody else by now, or soon
    await engine.stop()
    watch.cancel()
    return 0


def _leave_by(seconds: float) -> None:
    """Whatever waits then, on the way out too, for a database that stands still say, is left as it is."""

    def leave() -> None:
        log.warning("stopping takes too long; another worker takes the work over")
        logging.shutdown()
        os._exit(EX_TEMPFAIL)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
