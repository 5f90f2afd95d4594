"""The lane: short files, many at once in one thread, where nothing stands in their way.

A folder of thousands would keep dozens of threads busy with waiting for each other. Here one does for each file what the
engine has others do, by the same `Transfer` and in the same order: look, read, begin, ask, send, complete; each step as soon
as what came before is answered. A file is read once, and its bytes stay in memory until they are sent. What the journal is to
know of the steps of one turn is one transaction, on its way to the disk before anything is asked of a server.

Whatever has to wait, to be repeated, to go by relay or at a limited rate, was begun before, or was stopped, is the engine's:
its transfer goes there as it stands. Where the server or its store is in trouble, files go by the engine for a while, and
then by the lane again.

Memory: 16 MiB of files.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from rushes.client.actions import Action, Ask, Complete, Drive, End, Look, Prepare, Put, Read, Room, Wait, Work
from rushes.client.claim import Seat
from rushes.client.engine import Engine
from rushes.client.http import Manifold, Many, Reply, Request, Stopped, Transport
from rushes.client.job import Job
from rushes.client.journal import Journal
from rushes.client.source import checksums_of
from rushes.client.transfer import Begun, Transfer
from rushes.errors import Problem, Unavailable

SHORT = 1 << 20  # bytes of a file
IN_MEMORY = 16 << 20  # bytes of files at once
TICK = 0.25  # seconds; what changes elsewhere is noticed so soon
UNSERVED = 0.05  # seconds between two looks for a line
BROKEN_OFF = Unavailable("broken_off", "It was broken off by this program.")
REST, REST_MOST = 1.0, 30.0  # seconds without a new file here after an error that may pass; doubles


Make = Callable[[], Transfer]  # when its turn comes: thousands wait


class Steps(Protocol):
    """What an uploader does for one file. All but `look_at_all` are quick and ask nobody."""

    journal: Journal

    def look_at_all(self, job: Job, most: int, seat: Seat) -> bytes | None: ...
    def intended(self, job: Job) -> Request | None: ...
    def begun(self, job: Job, came: Reply | Problem) -> Begun: ...


@dataclass(eq=False, slots=True)
class _Item:
    job: Job
    transfer: Transfer
    room: int = 0  # bytes of memory counted for it
    content: bytes = b""
    action: Prepare | Ask | Put | Complete | Look | None = None  # that is under way


class Lane:
    """Of one uploader. It has a thread of the engine's while there is anything to do."""

    def __init__(self, engine: Engine, transport: Transport, steps: Steps) -> None:
        self._engine = engine
        self._steps = steps
        self._manifold = transport if isinstance(transport, Manifold) else None
        self._many: Many | None = None
        self._lock = threading.Lock()  # guards what other threads touch:
        self._waiting: dict[Job, Make] = {}  # in order
        self._stopped: deque[Job] = deque()
        self._driven = False
        self._closing = False
        # The rest is the driving thread's.
        self._items: dict[Job, _Item] = {}
        self._parked: deque[_Item] = deque()  # granted, without a line
        self._starting: list[tuple[_Item, Request]] = []
        self._leaving: list[_Item] = []
        self._in_memory = 0
        self._rest = self._rest_until = 0.0

    def takes(self, job: Job) -> bool:
        """Whether a file that nothing was begun of may go by here."""
        return self._manifold is not None and job.size <= SHORT and self._engine.rate.rate is None

    def take(self, jobs: Mapping[Job, Make], parallel: int | None) -> None:
        """In this order, on `parallel` lines at least. Raises `Stopped` after the engine was closed."""
        with self._lock:
            for job in jobs:
                job.heard = partial(self._stop, job)
            self._waiting.update(jobs)
            driven, self._driven = self._driven, True
        if driven:
            self._wake()
            return
        try:
            self._engine.add(_Turns(self, parallel))
        except Stopped:
            self._let_wait_elsewhere()  # another thread's may be among them
            raise

    def _wake(self) -> None:
        if self._many is not None:
            self._many.wake()

    def _stop(self, job: Job) -> None:
        with self._lock:
            if not self._driven:
                return  # it has ended, or has a handle
            self._stopped.append(job)
        self._wake()

    def close(self) -> None:
        """What is under way goes to the engine, and ends there or here as stopped."""
        self._closing = True
        self._wake()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def drive(self) -> None:
        assert self._manifold is not None, "nothing was taken"
        came: list[tuple[object, Reply | Problem]] = []
        left = True
        try:
            if self._many is None:
                self._many = self._manifold.many()
            with closing(self._steps.journal.seat()) as seat:
                while not self._closing and (left := self._is_left()):
                    self._heed_stops(came)
                    looked = [item for item in self._admitted() if self._look(item, seat)]
                    with self._steps.journal.together():
                        for item in looked:
                            self._begin(item)
                        for key, reply in came:
                            self._hear(key, reply)
                        self._serve_parked()
                    self._settle()
                    came = self._many.turn(self._patience())
        finally:
            if left:
                self._abandon()

    def _is_left(self) -> bool:
        """Whether there is anything to do. If not, whoever comes from now on has a thread of his own."""
        with self._lock:
            self._driven = bool(self._waiting or self._items)
            return self._driven

    def _patience(self) -> float:
        if self._parked:
            return UNSERVED
        return 0.0 if self._waiting and self._has_room() else TICK

    def _has_room(self) -> bool:
        free = len(self._items) < self._engine.questions and self._in_memory < IN_MEMORY
        # While there is trouble all that begin here may end up there, each with its file open.
        return free and not self._is_blocked() and (not self._rest or self._engine.idle)

    def _is_blocked(self) -> bool:
        """Whether files cannot go by here for now."""
        resting = time.monotonic() < self._rest_until
        return resting or self._engine.rate.rate is not None or not self._engine.ways.clear

    def _admitted(self) -> list[_Item]:
        items = []
        while self._waiting and (self._has_room() or (self._is_blocked() and self._engine.idle)):
            with self._lock:
                job = next(iter(self._waiting), None)
                if job is None:
                    break
                item = _Item(job, self._waiting.pop(job)())
            self._items[job] = item
            if self._is_blocked():
                self._hand_over(item)
            else:
                item.room = min(job.size or SHORT, SHORT)
                self._in_memory += item.room
                items.append(item)
        return items

    def _heed_stops(self, came: list[tuple[object, Reply | Problem]]) -> None:
        while self._stopped:
            job = self._stopped.popleft()
            with self._lock:
                make = self._waiting.pop(job, None)
            item = self._items.get(job) if make is None else _Item(job, make())
            if item is not None:
                came[:] = [(key, reply) for key, reply in came if key is not item]
                self._break_off(item)
                self._hand_over(item)

    def _break_off(self, item: _Item) -> None:
        """What is under way was in vain; whoever goes on with it does it again."""
        assert self._many is not None, "driven"
        self._many.drop(item)
        match item.action:
            case Prepare():
                item.transfer.prepared(BROKEN_OFF)
            case Put():
                item.transfer.sent_part(item.action, BROKEN_OFF)
                self._engine.give_back(1)
            case Ask() | Complete() | Look():
                item.transfer.answered(item.action, BROKEN_OFF)
        item.action = None
        if item in self._parked:
            self._parked.remove(item)
            self._engine.borrow(0)

    # --- one file -----------------------------------------------------------------------------------------------------

    def _look(self, item: _Item, seat: Seat) -> bool:
        """Whether it can begin here."""
        try:
            content = self._steps.look_at_all(item.job, SHORT, seat)
        except Problem as problem:
            item.transfer.prepared(problem)
            self._leave(item)
            return False
        if content is None:
            self._leave(item)
            return False
        item.content = content
        return True

    def _begin(self, item: _Item) -> None:
        try:
            request = self._steps.intended(item.job)
        except Problem:
            request = None  # whoever comes next will meet it too, and knows what it means

        def written(problem: Problem | None) -> None:
            if request is None or problem is not None:
                self._leave(item)
            else:
                self._start(item, Prepare(), request)

        self._steps.journal.afterwards(written)

    def _start(self, item: _Item, action: Prepare | Ask | Put | Complete | Look, request: Request) -> None:
        item.action = action
        self._starting.append((item, request))

    def _hear(self, key: object, came: Reply | Problem) -> None:
        assert isinstance(key, _Item), "what `start` was given"
        item, action = key, key.action
        item.action = None
        self._mind(came)
        match action:
            case Prepare():
                try:
                    begun: Begun | Problem = self._steps.begun(item.job, came)
                except Problem as problem:
                    begun = problem
                self._steps.journal.afterwards(partial(self._prepared, item, begun))
                return
            case Put():
                self._engine.give_back(1)
                item.transfer.sent_part(action, came)
            case Ask() | Complete() | Look():
                item.transfer.answered(action, came)
        self._go_on(item)

    def _prepared(self, item: _Item, begun: Begun | Problem, unwritten: Problem | None) -> None:
        """Parts go only under what is written down: asked again, the server would name an upload that has ended."""
        if unwritten is not None and not isinstance(begun, Problem):
            begun = unwritten
        item.transfer.prepared(begun)
        if isinstance(begun, Problem) and not begun.permanent:
            self._leave(item)
        else:
            self._go_on(item)

    def _mind(self, came: Reply | Problem) -> None:
        """Trouble of one is likely that of all."""
        if came.permanent if isinstance(came, Problem) else came.status < 500 and came.status != 429:
            self._rest = 0.0
            return
        if (now := time.monotonic()) >= self._rest_until:  # else it is the same trouble, of those that were under way
            self._rest = min(2 * self._rest, REST_MOST) if self._rest else REST
            self._rest_until = now + self._rest

    def _go_on(self, item: _Item, *, line: bool = False) -> None:
        """With a line, if it has one; it needs none before its part is granted."""
        while True:
            with self._engine.lock:  # between these answers nothing changes
                straight = item.transfer.straight
                if straight and self._engine.rate.rate is not None:
                    straight = False
                elif straight and not line:
                    self._parked.append(item)
                    return
                action = None if straight is False else item.transfer.next(self._engine.clock(), Room(line))
                if line and not isinstance(action, Put):
                    self._engine.give_back(1)
                    line = False
            if action is None:
                self._leave(item)
                return
            if not isinstance(action, Read):
                self._do(item, action)
                return
            crc, text = checksums_of(item.content, item.transfer.algorithm)
            item.transfer.was_read(action, crc, text)

    def _do(self, item: _Item, action: Action) -> None:
        match action:
            case Ask() | Complete() | Look():
                try:
                    request = item.transfer.question(action)
                except Problem as problem:
                    item.transfer.answered(action, problem)
                    self._go_on(item)
                else:
                    self._start(item, action, request)
            case Put(grant=grant) if grant is not None:
                self._start(item, action, item.transfer.part(action, grant, item.content))
            case End():
                self._forget(item)
                item.transfer.finish()
            case _:
                self._leave(item)

    def _serve_parked(self) -> None:
        if self._parked:
            for _ in range(self._engine.borrow(len(self._parked))):
                self._go_on(self._parked.popleft(), line=True)

    # --- leaving ------------------------------------------------------------------------------------------------------

    def _leave(self, item: _Item) -> None:
        """It goes to the engine, after what is written of it is on its way to the disk."""
        self._leaving.append(item)

    def _settle(self) -> None:
        assert self._many is not None, "driven"
        leaving, self._leaving = self._leaving, []
        for item in leaving:
            self._hand_over(item)
        starting, self._starting = self._starting, []
        for item, request in starting:
            self._many.start(item, request)

    def _hand_over(self, item: _Item) -> None:
        self._forget(item)
        job = item.job
        try:
            job.handle = self._engine.add(item.transfer)
        except Stopped:
            job.handle = self._engine.end(item.transfer)
        if job.stopping:
            job.handle.cancel()

    def _forget(self, item: _Item) -> None:
        if self._items.pop(item.job, None) is not None:
            self._in_memory -= item.room
        item.content = b""

    def _abandon(self) -> None:
        """All that is left goes to the engine."""
        self._starting.clear()
        self._leaving.clear()
        try:
            for item in [*self._items.values()]:
                self._break_off(item)
                self._hand_over(item)
        finally:
            self._let_wait_elsewhere()

    def _let_wait_elsewhere(self) -> None:
        with self._lock:
            waiting, self._waiting, self._driven = self._waiting, {}, False
        for job, make in waiting.items():
            self._hand_over(_Item(job, make()))


class _Turns:
    """A `Task`: the lane's turns, in one of the engine's threads."""

    def __init__(self, lane: Lane, parallel: int | None) -> None:
        self.size = 0
        self.parallel = parallel
        self.outcome: BaseException | None = None
        self._lane = lane
        self._begun = self._over = False

    def next(self, _now: float, _room: Room) -> Action:
        if self._begun:
            return End(None) if self._over else Wait(None)
        self._begun = True
        return Drive()

    def act(self, action: Work) -> None:
        assert isinstance(action, Drive), "what `next` said"
        try:
            self._lane.drive()
        finally:
            self._over = True

    def stop(self) -> None:
        if not self._over:  # it may hear this after its end, and others drive by then
            self._lane.close()

    def finish(self) -> None:
        """It has none."""
