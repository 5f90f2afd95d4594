"""Starts children in stages, keeps them alive, stops them in reverse order.

Children of one stage start together; the next stage starts when all of them are ready. A child that dies later is
started again after a pause that doubles from half a second to half a minute, for ever: the others reconnect to it.
Everything runs in the main thread, as PDEATHSIG demands; only the children's output is read by threads.
"""

from __future__ import annotations

import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum

from rushes.embedded.children import UNABLE, Child, end_group, ending, has_ended, spawn
from rushes.embedded.log import Log
from rushes.embedded.signals import Requests
from rushes.errors import Problem, Unavailable

LONGEST_PAUSE = 30.0
STEADY_SECONDS = 60.0  # having been ready so long, a child's next death is a new trouble
FIRST_TRIES = 4  # PostgreSQL may have to wait for the last backend of one that was killed
POLL_SECONDS = 0.05
HURRY_SECONDS = 3.0
TAIL_LINES = 12


class State(Enum):
    WAITING = "waiting"  # to be started at `due`
    STARTING = "starting"  # not ready yet; must be by `due`
    READY = "ready"
    DONE = "done"  # a child with `once` ended well


class Held:
    """A child under supervision: its process, if any, and what is due when. Times are seconds of `time.monotonic`."""

    def __init__(self, child: Child, log: Log, now: float, first_pause: float) -> None:
        self.child = child
        self.hopeless = False
        self.state = State.WAITING
        self.due = now
        self.failures = 0
        self.tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._since = now
        self._first_pause = first_pause

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def tick(self, now: float) -> None:
        """Do what is due. Raises what `before`, `ready` and the start raise."""
        if self.state is State.WAITING and now >= self.due:
            self._start(now)
        elif self._process is not None and has_ended(self._process):
            self._lost(now, ending(self._reap()))
        elif self.state is State.STARTING and now >= self.due:
            self._reap()
            self._lost(now, f"was not ready within {self.child.ready_seconds:g} seconds")
        elif self.state is State.STARTING and not self.child.once and self.child.ready():
            self._say("info", f"ready after {time.monotonic() - self._since:.1f} s")
            self._become(State.READY, time.monotonic())

    def pause(self, now: float) -> None:
        """Try again later: longer after every failure, from the start again after a steady time."""
        self.due = now + min(LONGEST_PAUSE, self._first_pause * 2 ** (self.failures - 1))
        self.state = State.WAITING

    def ask_to_stop(self, *, hurry: bool) -> None:
        if self._process is not None and not has_ended(self._process):
            self._process.send_signal(self.child.hurry_signal if hurry else self.child.stop_signal)

    def gone(self) -> bool:
        """Whether nothing runs any more; reaps what has ended."""
        if self._process is not None and has_ended(self._process):
            self._reap()
        return self._process is None

    def end(self) -> None:
        if self._process is not None:
            self._reap()

    def last_words(self) -> str:
        return "\n".join(f"  {line}" for line in self.tail) or "  (it said nothing)"

    def _start(self, now: float) -> None:
        self.child.before()
        self.tail.clear()
        self._process = spawn(
            self.child.argv,
            cwd=self.child.cwd,
            env=self.child.env,
            account=self.child.account,
            death_signal=self.child.death_signal,
        )
        self._reader = threading.Thread(
            target=self._read, args=(self._process,), name=f"log of {self.child.name}", daemon=True
        )
        self._reader.start()
        self._become(State.STARTING, now)
        self.due = now + self.child.ready_seconds

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        with process.stdout as output:
            # A limit, so that a child that never ends its line cannot fill the memory.
            while raw := output.readline(65536):
                if text := raw.decode(errors="replace").rstrip():
                    self.tail.append(text)
                    line = self.child.read_line(text)
                    self._log.write(line.level, self.child.name, line.text)

    def _reap(self) -> int:
        assert self._process is not None
        end_group(self._process)
        code = self._process.returncode
        if self._reader is not None:
            # Bounded: a grandchild in a session of its own may still hold the pipe.
            self._reader.join(timeout=1)
        self._process = self._reader = None
        return code

    def _lost(self, now: float, how: str) -> None:
        if self.child.once and how == ending(0):
            self._become(State.DONE, now)
            return
        if self.state is State.READY and now - self._since >= STEADY_SECONDS:
            self.failures = 0
        self.failures += 1
        self.hopeless = self.child.once or how in {ending(code) for code in UNABLE}
        self.pause(now)
        self._say("warning", how if self.child.once else f"{how}; starting it again in {self.due - now:g} s")

    def _become(self, state: State, now: float) -> None:
        self.state = state
        self._since = now

    def _say(self, level: str, text: str) -> None:
        self._log.write(level, self.child.name, text)


class Supervisor:
    """The children of this process. Not thread-safe: use it from the main thread."""

    def __init__(
        self,
        log: Log,
        requests: Requests | None = None,
        *,
        first_pause: float = 0.5,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._requests = requests or Requests()
        self._clock = clock
        self._first_pause = first_pause
        self._stages: list[list[Held]] = []

    def pids(self) -> dict[str, int]:
        """The process of each child that has one, by the child's name."""
        return {held.child.name: held.pid for stage in self._stages for held in stage if held.pid is not None}

    def start(self, stage: Sequence[Child]) -> bool:
        """Start these together; True when all are ready, False when a signal asked to stop before they were.

        Raises `Unavailable` with its last words when one does not come up.
        """
        begun = self._clock()
        started = [Held(child, self._log, begun, self._first_pause) for child in stage]
        self._stages.append(started)
        while any(held.state not in {State.READY, State.DONE} for held in started):
            if self._requests.count:
                return False
            for held in started:
                held.tick(self._clock())
                _give_up_on(held, self._clock() - begun)
            self._keep(self._clock(), besides=started)
            self._requests.sleep(POLL_SECONDS)
        return True

    def watch(self) -> None:
        """Keep every child alive until a signal asks to stop."""
        while not self._requests.count:
            now = self._clock()
            self._keep(now)
            # The death of a child cuts the sleep short; what is starting has to be asked.
            self._requests.sleep(min((self._until(held, now) for stage in self._stages for held in stage), default=1.0))

    def stop(self) -> None:
        """Stop every stage, the last one first; another request to stop makes haste. Nothing runs afterwards."""
        asked = self._requests.count
        for stage in reversed(self._stages):
            self._stop(stage, asked)
            for held in stage:
                held.child.after()
        self._stages.clear()

    def _stop(self, stage: list[Held], asked: int) -> None:
        begun = self._clock()
        for held in stage:
            held.ask_to_stop(hurry=self._requests.count > asked)
        patience = {held: begun + held.child.stop_seconds for held in stage}
        hurried = self._requests.count > asked
        while any(not held.gone() for held in stage):
            now = self._clock()
            if self._requests.count > asked and not hurried:
                hurried = True
                self._log.write("warning", "rushes", "asked again: stopping at once")
                for held in stage:
                    held.ask_to_stop(hurry=True)
                    patience[held] = min(patience[held], now + HURRY_SECONDS)
            for held in stage:
                if not held.gone() and now >= patience[held]:
                    self._log.write("warning", held.child.name, f"did not stop within {now - begun:.0f} s: killing it")
                    held.end()
            self._requests.sleep(POLL_SECONDS)

    def _keep(self, now: float, besides: Sequence[Held] = ()) -> None:
        for held in (held for stage in self._stages for held in stage if held not in besides):
            try:
                held.tick(now)
            except (Problem, OSError) as problem:
                # While it ran before, this is a passing trouble (a full disk, a port taken meanwhile): go on trying.
                held.end()
                held.failures += 1
                held.pause(now)
                self._log.write("error", held.child.name, f"{problem}; trying again in {held.due - now:g} s")

    def _until(self, held: Held, now: float) -> float:
        if held.state is State.WAITING:
            return max(0.0, min(1.0, held.due - now))
        return POLL_SECONDS if held.state is State.STARTING else 1.0


@contextmanager
def kept(children: Sequence[Child], log: Log) -> Iterator[None]:
    """These children while the block lasts, started together; one that dies inside stays dead."""
    supervisor = Supervisor(log)
    try:
        supervisor.start(children)
        yield
    finally:
        supervisor.stop()


def _give_up_on(held: Held, tried_seconds: float) -> None:
    """Raise `Unavailable` when a child that never was ready is not worth another try."""
    failed = held.failures > 0 and held.state is State.WAITING
    if failed and (held.hopeless or held.failures >= FIRST_TRIES or tried_seconds >= held.child.ready_seconds):
        raise Unavailable(
            "child_failed",
            f"{held.child.name} did not start. Its last words:\n{held.last_words()}",
            child=held.child.name,
        )
