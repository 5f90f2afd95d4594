"""The engine: the threads of all that a client has under way, and how its lines are dealt.

A task decides what it has to do next, purely and under the engine's lock; the engine finds it a thread and calls `act`
without the lock. Threads are started when there is work for one more, and end when there is none at all. Three things are
bounded: lines, readers and questions. Of threads that have nothing to do one, the leader, keeps the time; it wakes the
next before it goes to work, so that an outcome wakes one thread and not all of them.

Who is served: files of at most 64 MiB are *small*, in the order in which they were added; of the others the one with
the fewest lines comes first. Half of the lines are the large ones', the other half the small ones', and what either does
not use the other may. So a small file never waits behind a large one, nor the other way round. Lines may be lent to the
lane of the short files (`lane.py`), by the same measure.

How many lines there are follows from what they carry (`pace.py`); how fast they are may be limited (`rate`).

Memory: 3 MB for each line, 1 MB for each reader, 3 MB for the ledger of the largest upload; nothing grows with a file.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from rushes.client.actions import Action, End, Room, Takes, Wait, Work
from rushes.client.http import Stopped
from rushes.client.limits import Limits
from rushes.client.pace import Pace, RateLimit
from rushes.client.ways import Ways

SMALL = 64 << 20  # bytes: one ordinary part
SAMPLE = 0.25  # seconds between two looks at what the lines carry
READERS = 2  # one core computes checksums faster than most lines carry bytes
QUESTIONS = 16  # at once, or twice as many as lines: a small file asks three and sends one part
NEVER = float("inf")
ASK_AGAIN = 1.0  # seconds after which a task is asked what it has to do though nothing is known to have changed
LARGE_AT_ONCE = 4  # large files that are open: while one ends the next is under way


class Task(Protocol):
    """One file's upload, or anything that goes the same way."""

    size: int  # bytes; decides who is served first
    parallel: int | None  # lines that it insists on, whatever the pace

    def next(self, now: float, room: Room) -> Action:
        """What to do now; under the engine's lock, so quick and without I/O. It counts as under way until acted."""

    def act(self, action: Work) -> None:
        """Carry it out, in one of the engine's threads, without the lock; see to it that `next` knows what came of it."""

    def stop(self) -> None:
        """Break off what is under way, soon. `next` is not asked any more. A task that has come to its end may hear it too."""

    def finish(self) -> None:
        """The last words, when nothing is under way any more; the task remembers what ended it. Called once."""

    @property
    def outcome(self) -> BaseException | None:
        """What ended it, after `finish`."""


@dataclass(frozen=True, slots=True)
class _Idle:
    """A small task had nothing to do when there was so much room: not before `until`, unless an action of its own ends.

    Of thousands of small files dozens are under way, of which each outcome concerns one.
    """

    wait: Wait
    room: Room
    until: float

    def holds(self, now: float, room: Room) -> bool:
        before = self.room
        return (
            now < self.until
            and room.line <= before.line
            and room.reader <= before.reader
            and room.question <= before.question
            and room.lines <= before.lines
        )


@dataclass(eq=False, slots=True)
class _Entry:
    task: Task
    ended: threading.Event = field(default_factory=threading.Event)
    running: int = 0  # actions under way
    lines: int = 0
    served: int = 0  # when it got its last line, in turns
    over: bool = False
    finishing: bool = False
    crash: BaseException | None = None
    idle: _Idle | None = None
    small: bool = field(init=False)

    def __post_init__(self) -> None:
        self.look_again()

    def look_again(self) -> None:
        """An action ended: it may have something to do, or know its size by now."""
        self.idle = None
        self.small = self.task.size <= SMALL


@dataclass(eq=False, slots=True)
class _Lead:
    """A thread keeps the time."""

    until: float


class Handle:
    """A task that was given to an engine."""

    def __init__(self, engine: Engine, entry: _Entry) -> None:
        self._engine = engine
        self._entry = entry

    @property
    def done(self) -> bool:
        return self._entry.ended.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """True when it has ended well, False when it has not ended within `timeout` seconds. Raises what ended it."""
        if not self._entry.ended.wait(timeout):
            return False
        error = self._entry.crash or self._entry.task.outcome
        if error is not None:
            raise error
        return True

    def join(self) -> None:
        """Return when it has ended, however it did."""
        self._entry.ended.wait()

    def cancel(self) -> None:
        """Stop it politely; `wait` raises `Stopped` soon, unless it has ended otherwise."""
        self._engine.stop(self._entry)


class Engine:
    """Threads, lines and the order of service for any number of tasks. Safe to use from many threads."""

    def __init__(self, limits: Limits | None = None, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits or Limits()
        self.clock = clock
        self.lock = threading.RLock()  # guards all below, and what tasks decide by
        self._leader = threading.Condition(self.lock)
        self._others = threading.Condition(self.lock)
        self._lead: _Lead | None = None
        self._waiting: dict[bool, deque[_Entry]] = {True: deque(), False: deque()}  # by whether they are small
        self._active: list[_Entry] = []
        self._insisted = 0  # lines, by those that are active
        self._threads: set[threading.Thread] = set()
        self._followers = 0
        self._looking = 0  # threads that are about to look for work
        self._busy = dict.fromkeys(Takes, 0)
        self.rate = RateLimit(clock)  # may be set at any time
        self.ways = Ways()  # under the lock
        self._pace = Pace(self.limits.most_lines, fixed=self.limits.parallel)
        self._wanted = 0  # bytes of all files that were added
        self._carried = 0  # bytes of parts that landed or are under way
        self._sampled_at = 0.0
        self._turn = 0
        self._lent = 0  # lines, to small files outside of tasks
        self._asked_for = 0  # more of them
        self._passed_over = 0  # lines that were left free for others, when some were lent last
        self._small_last = False
        self._closed = False

    def add(self, task: Task) -> Handle:
        """Take a task in; it begins when its turn comes. Raises `Stopped` after `close`."""
        entry = _Entry(task)
        with self.lock:
            if self._closed:
                raise Stopped("stopped", "This client was closed.")
            self._waiting[entry.small].append(entry)
            self._wanted += task.size
            self._admit()
            self._wake()
        return Handle(self, entry)

    def end(self, task: Task) -> Handle:
        """Stop a task that was never added, and hear its last words; after `close` as well."""
        entry = _Entry(task, over=True)
        with self.lock:
            task.stop()
            self._active.append(entry)
            self._wake()
        return Handle(self, entry)

    def stop(self, entry: _Entry) -> None:
        with self.lock:
            entry.over = True
            entry.task.stop()
            if entry not in self._active and not entry.ended.is_set():  # it never began
                self._waiting[entry.small].remove(entry)
                self._active.append(entry)
                self._count_insisted()
            self._wake()

    def close(self) -> None:
        """Stop everything politely, and return when it has stopped."""
        with self.lock:
            self._closed = True
            entries = [*self._active, *self._waiting[True], *self._waiting[False]]
            for entry in entries:
                self.stop(entry)
        for entry in entries:
            entry.ended.wait()
        while threads := [*self._threads]:  # last words may have begun some meanwhile
            for thread in threads:
                thread.join()

    @property
    def lines(self) -> int:
        """How many there are at this moment."""
        with self.lock:
            return self._lines()

    def carried(self, count: int) -> None:
        """So many bytes more have left on the lines; less than none when those of a part were in vain. Under the lock."""
        self._carried += count
        now = self.clock()
        if now - self._sampled_at < SAMPLE:
            return
        self._sampled_at, before = now, self._pace.lines
        left = self._wanted - self._carried
        self._pace.sample(now, self._carried, busy=self._busy[Takes.LINE] >= before, left=left)
        if self._pace.lines > before:
            self._wake()

    def borrow(self, wanted: int) -> int:
        """Lines for so many bodies more of small files that are sent outside of tasks; how many there are for them now.

        What others do not use may be had, but only half where there are others: more of it only if nobody else has taken
        it since the last call. What is not given is kept free as far as that half goes. Each goes back by `give_back`.
        """
        with self.lock:
            free = max(0, self._lines() - self._busy[Takes.LINE])
            given = min(wanted, free)
            if len(self._active) > 1:  # whoever borrows is one
                given = min(given, max(self._small_share() - self._lent, self._passed_over))
            self._passed_over = free - given if given < wanted else 0
            before, self._asked_for = self._asked_for, wanted - given
            self._lent += given
            self._busy[Takes.LINE] += given
            self._small_last = self._small_last or given > 0
            if self._asked_for + given < before:  # what was kept free is free
                self._wake()
            return given

    def give_back(self, count: int) -> None:
        with self.lock:
            self._lent -= count
            self._busy[Takes.LINE] -= count
            if len(self._active) > 1:
                self._wake()

    def _small_share(self) -> int:
        lines = self._lines()
        return lines // 2 if lines > 1 else int(not self._small_last)

    @property
    def questions(self) -> int:
        """How many small files may be under way outside of tasks."""
        with self.lock:
            return self._questions()

    @property
    def idle(self) -> bool:
        """Whether another small task would begin at once."""
        with self.lock:
            begun = sum(entry.small for entry in self._active)
            return not self._closed and not self._waiting[True] and begun <= self._questions()

    def pushed_back(self) -> None:
        """The other side says that it is too busy."""
        with self.lock:
            self._pace.pushed_back(self.clock())

    # --- who is served ----------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Let as many begin as keep the lines full while others end."""
        for small, most in ((True, self._lines() + self._questions()), (False, LARGE_AT_ONCE)):
            begun = sum(entry.small is small for entry in self._active)
            waiting = self._waiting[small]
            while waiting and begun < most:
                self._active.append(waiting.popleft())
                begun += 1
        self._count_insisted()

    def _count_insisted(self) -> None:
        self._insisted = max((entry.task.parallel or 0 for entry in self._active), default=0)

    def _questions(self) -> int:
        return max(QUESTIONS, 2 * self._lines())

    def _lines(self) -> int:
        return min(max(self._pace.lines, self._insisted), self.limits.most_lines)

    def _pick(self, now: float) -> tuple[_Entry, Work | None] | float | None:
        """The next action and whose it is (None: its end); or the time at which to look again, if there is one."""
        kept = min(self._asked_for, max(0, self._small_share() - self._lent)) if self._asked_for else 0
        room = Room(
            self._busy[Takes.LINE] + kept < self._lines(),
            self._busy[Takes.READER] < READERS,
            self._busy[Takes.QUESTION] < self._questions(),
            self._lines(),
        )
        soonest: float | None = None
        for entry in self._in_turn():
            if not entry.over:
                action = self._asked(entry, now, room)
                if isinstance(action, Wait):
                    soonest = action.until if soonest is None else min(soonest, action.until or soonest)
                    continue
                if not isinstance(action, End):
                    return self._given(entry, action)
                entry.over = True
                if entry.running:
                    entry.task.stop()  # what is still under way is in vain
            if entry.running == 0 and not entry.finishing and room.question:
                entry.finishing = True
                self._busy[Takes.QUESTION] += 1  # its last words
                return entry, None
        return soonest

    def _asked(self, entry: _Entry, now: float, room: Room) -> Action:
        if entry.idle is not None and self.ways.clear and entry.idle.holds(now, room):
            return entry.idle.wait
        try:
            action = entry.task.next(now, room)
        except BaseException as error:  # noqa: BLE001 - raised again by `Handle.wait`, in its caller's thread
            entry.crash = entry.crash or error
            entry.task.stop()
            return End(None)
        entry.idle = None
        if isinstance(action, Wait) and entry.small and self.ways.clear:
            entry.idle = _Idle(action, room, min(now + ASK_AGAIN, action.until or NEVER))
        return action

    def _given(self, entry: _Entry, action: Work) -> tuple[_Entry, Work]:
        entry.running += 1
        self._busy[action.takes] += 1
        if action.takes is Takes.LINE:
            self._turn += 1
            entry.lines += 1
            entry.served = self._turn
            self._small_last = entry.small
        return entry, action

    def _in_turn(self) -> Iterator[_Entry]:
        small = [entry for entry in self._active if entry.small]
        large = sorted((entry for entry in self._active if not entry.small), key=lambda e: (e.lines, e.served))
        lines = self._lines()
        of_large = sum(entry.lines for entry in large)
        large_first = self._small_last if lines == 1 else 2 * of_large < lines
        yield from (*large, *small) if large_first else (*small, *large)

    # --- the threads ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while (job := self._take()) is not None:
                self._run(*job)
        finally:
            with self.lock:
                self._threads.discard(threading.current_thread())

    def _take(self) -> tuple[_Entry, Work | None] | None:
        """The next job, waited for; None when there is nothing left at all."""
        with self.lock:
            while self._active:
                now = self.clock()
                found = self._pick(now)
                self._looking -= 1
                if isinstance(found, tuple):
                    self._wake()
                    return found
                self._rest(now, found)
            self._looking -= 1
            self._call_leader()
            self._looking += self._followers
            self._followers = 0
            self._others.notify_all()
        return None

    def _rest(self, now: float, until: float | None) -> None:
        if self._lead is None:
            lead = self._lead = _Lead(NEVER if until is None else until)
            self._leader.wait(None if until is None else max(0.0, until - now))
            if self._lead is lead:  # nobody called: it is time
                self._lead = None
                self._looking += 1
            return
        if until is not None and until < self._lead.until:
            self._call_leader()  # it would wake too late
        self._followers += 1
        self._others.wait()

    def _wake(self) -> None:
        """See to it that one more thread looks for work."""
        if self._looking:
            return
        if self._lead is not None:
            self._call_leader()
        elif self._followers:
            self._followers -= 1
            self._looking += 1
            self._others.notify()
        elif len(self._threads) < 3 * self.limits.most_lines + READERS + QUESTIONS:
            self._looking += 1
            thread = threading.Thread(target=self._work, name=f"rushes-part-{len(self._threads)}", daemon=True)
            self._threads.add(thread)
            thread.start()

    def _call_leader(self) -> None:
        if self._lead is not None:
            self._lead = None
            self._looking += 1
            self._leader.notify_all()

    def _run(self, entry: _Entry, action: Work | None) -> None:
        try:
            if action is None:
                entry.task.finish()
            else:
                entry.task.act(action)
        except Stopped:
            with self.lock:
                self.stop(entry)
        except BaseException as error:  # noqa: BLE001 - raised again by `Handle.wait`, in its caller's thread
            with self.lock:
                entry.crash = entry.crash or error
                self.stop(entry)
        finally:
            with self.lock:
                self._acted(entry, action)

    def _acted(self, entry: _Entry, action: Work | None) -> None:
        self._looking += 1
        if action is None:
            self._busy[Takes.QUESTION] -= 1
            self._active.remove(entry)
            entry.ended.set()
            self._admit()
            return
        entry.running -= 1
        entry.look_again()
        self._busy[action.takes] -= 1
        if action.takes is Takes.LINE:
            entry.lines -= 1
