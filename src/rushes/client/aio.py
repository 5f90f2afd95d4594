"""The client for asyncio: the methods of `Client`, each run in a thread, so that the loop never waits.

    async with AsyncClient("https://media.example", token) as client:
        result = await client.upload("scene-12.mov", title="Scene 12")
        async for event in client.events(upload_id=result.upload_id):
            ...

There is no second engine: all uploads share that of the `Client` behind it (`client.sync`), and a call that waits costs one
sleeping thread. Cancelling a task stops its call politely and waits for that, so what was confirmed stays and can be gone
on with; cancelled once more, it does not wait. `on_…` functions are called in the loop. Arguments, results and errors are
those of `Client`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar
from uuid import UUID

from rushes.client import Client, Limits
from rushes.client.api import Assets, Jobs, Titles, Uploads, Usage
from rushes.client.http import Transport
from rushes.client.journal import Entry
from rushes.wire import Event, Health, Me

P = ParamSpec("P")
S = TypeVar("S")
T = TypeVar("T")

LONG = 256  # calls that wait for bytes or events, at once
SHORT = 16  # calls that ask one thing, at once


class _Threads:
    """Runs functions in threads of two kinds, so that a question never waits behind an upload."""

    def __init__(self) -> None:
        self._running: list[threading.Event] = []
        self._pools = {
            True: ThreadPoolExecutor(LONG, "rushes-long"),
            False: ThreadPoolExecutor(SHORT, "rushes-short"),
        }

    async def run(self, function: Callable[[], T], cancel: threading.Event | None = None) -> T:
        """`cancel` makes `function` end soon; without it, a cancelled call is left to end by itself."""
        future = asyncio.wrap_future(self._pools[cancel is not None].submit(function))
        if cancel is not None:
            self._running.append(cancel)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            future.add_done_callback(_heard)
            if cancel is not None:
                cancel.set()
                await asyncio.wait([future])
            raise
        finally:
            if cancel is not None:
                self._running.remove(cancel)

    def stop(self) -> None:
        """Make all that lasts end soon."""
        for cancel in list(self._running):
            cancel.set()

    def close(self) -> None:
        for pool in self._pools.values():
            pool.shutdown()


def _heard(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


class _Noun(Generic[S]):
    def __init__(self, sync: S, threads: _Threads) -> None:
        self._sync = sync
        self._threads = threads


def _asked(function: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[_Noun[S], P], Coroutine[Any, Any, T]]:
    """A short call of a noun."""

    @wraps(function)
    async def call(self: _Noun[S], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return await self._threads.run(partial(function, self._sync, *args, **kwargs))

    return call


def _listed(
    function: Callable[Concatenate[S, P], Iterator[T]],
) -> Callable[Concatenate[_Noun[S], P], AsyncIterator[T]]:
    """All items of a noun, page by page as they are wanted."""

    @wraps(function)
    async def call(self: _Noun[S], /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[T]:
        async for item in _each(self._threads, function(self._sync, *args, **kwargs), None):
            yield item

    return call


def _followed(
    function: Callable[Concatenate[Client, P], T],
) -> Callable[Concatenate[AsyncClient, P], Coroutine[Any, Any, T]]:
    """A call of the client that lasts, and can be stopped."""

    @wraps(function)
    async def call(self: AsyncClient, /, *args: P.args, **kwargs: P.kwargs) -> T:
        given: dict[str, Any] = dict(kwargs)
        cancel = given["cancel"] = given.get("cancel") or threading.Event()
        for name, tell in kwargs.items():
            if name.startswith("on_") and callable(tell):
                given[name] = partial(asyncio.get_running_loop().call_soon_threadsafe, tell)
        return await self._threads.run(partial(function, self.sync, *args, **given), cancel)

    return call


async def _each(threads: _Threads, items: Iterator[T], cancel: threading.Event | None) -> AsyncIterator[T]:
    end = object()
    try:
        while (item := await threads.run(partial(next, items, end), cancel)) is not end:
            yield item
    finally:
        close = getattr(items, "close", None)
        if close is not None:
            close()  # no thread is in it any more: `run` waited


class AsyncUploads(_Noun[Uploads]):
    begin = _asked(Uploads.begin)
    grants = _asked(Uploads.grants)
    complete = _asked(Uploads.complete)
    get = _asked(Uploads.get)
    status = _asked(Uploads.status)
    abort = _asked(Uploads.abort)
    page = _asked(Uploads.page)
    all = _listed(Uploads.all)


class AsyncTitles(_Noun[Titles]):
    create = _asked(Titles.create)
    get = _asked(Titles.get)
    update = _asked(Titles.update)
    delete = _asked(Titles.delete)
    page = _asked(Titles.page)
    all = _listed(Titles.all)


class AsyncAssets(_Noun[Assets]):
    get = _asked(Assets.get)
    status = _asked(Assets.status)
    update = _asked(Assets.update)
    delete = _asked(Assets.delete)
    play = _asked(Assets.play)
    process = _asked(Assets.process)
    page = _asked(Assets.page)
    all = _listed(Assets.all)


class AsyncJobs(_Noun[Jobs]):
    get = _asked(Jobs.get)
    page = _asked(Jobs.page)
    all = _listed(Jobs.all)
    prioritize = _asked(Jobs.prioritize)
    retry = _asked(Jobs.retry)
    cancel = _asked(Jobs.cancel)


class AsyncUsage(_Noun[Usage]):
    get = _asked(Usage.get)
    page = _asked(Usage.page)
    creators = _listed(Usage.creators)


class AsyncClient:
    """One server and one token, from one event loop. Use it as an asynchronous context manager, or `await close()`."""

    def __init__(
        self, url: str, token: str, *, transport: Transport | None = None, limits: Limits | None = None
    ) -> None:
        """As `Client`. Raises `Misconfigured` (url_invalid)."""
        self.sync = Client(url, token, transport=transport, limits=limits)
        self._threads = _Threads()
        self.uploads = AsyncUploads(self.sync.uploads, self._threads)
        self.titles = AsyncTitles(self.sync.titles, self._threads)
        self.assets = AsyncAssets(self.sync.assets, self._threads)
        self.jobs = AsyncJobs(self.sync.jobs, self._threads)
        self.usage = AsyncUsage(self.sync.usage, self._threads)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Stops what is under way, politely: uploads stay resumable."""
        self._threads.stop()
        await asyncio.to_thread(self.sync.close)
        await asyncio.to_thread(self._threads.close)

    async def call(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Any short call in a thread of this client: `await client.call(client.sync.titles.get, title_id)`."""
        return await self._threads.run(partial(function, *args, **kwargs))

    upload = _followed(Client.upload)
    upload_many = _followed(Client.upload_many)
    resume = _followed(Client.resume)
    resume_pending = _followed(Client.resume_pending)
    wait = _followed(Client.wait)
    download = _followed(Client.download)
    watch = _followed(Client.watch)

    async def check(self) -> Health:
        """Whether a rushes API answers at this address; needs no token. Gives up after two tries."""
        return await self.call(self.sync.check)

    async def me(self) -> Me:
        """Whom the token speaks for, and until when. Raises `Unauthenticated` for one that is not valid there."""
        return await self.call(self.sync.me)

    async def pending(self) -> list[Entry]:
        """What `upload_many` and `rushes upload` began here for this server and person and did not finish."""
        return await self.call(self.sync.pending)

    async def events(
        self,
        *,
        upload_id: UUID | None = None,
        asset_id: UUID | None = None,
        after: str | None = None,
        follow: bool = True,
        patience: float = 300.0,
    ) -> AsyncIterator[Event]:
        """As `Client.events`. Leaving the loop early, or cancelling its task, closes the stream."""
        cancel = threading.Event()
        found = self.sync.events(
            upload_id=upload_id, asset_id=asset_id, after=after, follow=follow, patience=patience, cancel=cancel
        )
        async for event in _each(self._threads, found, cancel):
            yield event
