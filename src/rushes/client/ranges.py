"""One download as a state machine: which bytes to fetch next, and what each outcome means. No I/O; time is a parameter.

    claimed ── Check ──▸ done            (blocks that an earlier run says it wrote)
       └─ other bytes ─▸ todo ── Fetch ──▸ done       … all done: End
                          ▴         └─ cut: what came is kept, the rest is asked for again after a pause
                          └── link refused: Renew first

A file is fetched in blocks of `block` bytes, any number of them at once, one thread a block. Each block carries a running
checksum, so that the whole file's is known without another reading. At most 20,000 blocks: 3 MB for a file of any size.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from rushes.checksum import Running, combined, start, text_of
from rushes.errors import Problem, Unavailable
from rushes.model import ChecksumAlgorithm

BLOCK = 8 << 20  # bytes, as long as so many blocks are enough
MOST_BLOCKS = 20_000
REFUSALS = 3  # fresh links refused in a row


def block_size(size: int, parallel: int) -> int:
    """Bytes of a block: enough blocks for every line, and not too many to remember."""
    mib = 1 << 20
    share = -(-size // (2 * parallel)) // mib * mib
    least = -(-size // MOST_BLOCKS // mib) * mib if size > BLOCK * MOST_BLOCKS else mib
    return max(least, min(BLOCK, share))


@dataclass(slots=True)
class Block:
    """One block: how far it is, and the checksum of what came."""

    index: int
    start: int  # in the file
    length: int
    running: Running
    got: int = 0  # bytes of it that are in the file
    tries: int = 0  # failures since bytes came

    @property
    def at(self) -> int:
        return self.start + self.got

    @property
    def end(self) -> int:
        return self.start + self.length


@dataclass(frozen=True, slots=True)
class Fetch:
    """Read the rest of this block under the current link; `fresh` asks for a new connection."""

    block: Block
    link: int  # which link: they are counted
    fresh: bool


@dataclass(frozen=True, slots=True)
class Check:
    """Compute the checksum of a block that is in the file."""

    index: int
    start: int
    length: int


@dataclass(frozen=True, slots=True)
class Renew:
    """Ask the server for a new link."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do before `until`, or (None) before another action's outcome is known."""

    until: float | None


@dataclass(frozen=True, slots=True)
class End:
    """Every byte is there, or `problem` says why it was given up."""

    problem: Problem | None


Action = Fetch | Check | Renew | Wait | End


@dataclass(slots=True)
class Ranges:
    """`claimed` has the checksums of blocks that an earlier run wrote, by index from 0."""

    size: int
    block: int
    algorithm: ChecksumAlgorithm
    claimed: Mapping[int, str] = field(default_factory=dict)
    patience: float = 300.0  # seconds without a byte before it is given up
    backoff: float = 0.5  # seconds; doubles with every failure, full jitter
    backoff_most: float = 30.0
    chance: Callable[[], float] = random.random
    trouble: str | None = None  # what is being waited out
    retries: int = 0
    resumed: int = 0  # bytes that an earlier run had brought
    _todo: deque[Block] = field(default_factory=deque)
    _checks: deque[int] = field(default_factory=deque)
    _pausing: list[tuple[float, int, Block]] = field(default_factory=list)
    _moving: dict[int, Block] = field(default_factory=dict)
    _checking: set[int] = field(default_factory=set)
    _done: dict[int, str] = field(default_factory=dict)
    _held: int = 0  # bytes of blocks done
    _link: int = 1
    _refused: int = 0
    _renewing: bool = False
    _stale: bool = False
    _renew_after: float = 0.0
    _renew_tries: int = 0
    _alive_at: float | None = None
    _end: End | None = None

    def __post_init__(self) -> None:
        for index in range(self.count):
            if index in self.claimed:
                self._checks.append(index)
            else:
                self._todo.append(self._fresh_block(index))

    @property
    def count(self) -> int:
        return -(-self.size // self.block)

    @property
    def held(self) -> int:
        """Bytes that are in the file, those on their way included."""
        waiting = sum(block.got for block in self._todo) + sum(block.got for _, _, block in self._pausing)
        return self._held + waiting + sum(block.got for block in self._moving.values())

    @property
    def checking(self) -> bool:
        """Nothing is left but to look at what an earlier run wrote."""
        return not self._todo and not self._moving and not self._pausing and bool(self._checks or self._checking)

    def next(self, now: float, *, prefer_check: bool = False) -> Action:
        """What a thread does next; the one that prefers checks keeps them going beside the fetching."""
        if self._alive_at is None:
            self._alive_at = now
        if self._end is None and len(self._done) == self.count:
            self._end = End(None)
        if self._end is not None:
            return self._end
        while self._pausing and self._pausing[0][0] <= now:
            self._todo.appendleft(heapq.heappop(self._pausing)[2])
        if prefer_check and self._checks:
            return self._check()
        if self._stale and self._todo:
            if self._renewing or now < self._renew_after:
                return self._check() if self._checks else Wait(None if self._renewing else self._renew_after)
            self._renewing = True
            return Renew()
        if self._todo:
            block = self._todo.popleft()
            self._moving[block.index] = block
            return Fetch(block, self._link, fresh=block.tries > 0)
        if self._checks:
            return self._check()
        return Wait(self._pausing[0][0] if self._pausing else None)

    def _check(self) -> Check:
        index = self._checks.popleft()
        self._checking.add(index)
        return Check(index, index * self.block, self._length(index))

    # --- outcomes -------------------------------------------------------------------------------------------------

    def took(self, block: Block, count: int, now: float) -> None:
        """So many bytes of a block are in the file, and in its checksum."""
        block.got += count
        block.tries = 0
        self._alive_at = now
        self._refused = self._renew_tries = 0
        if not self._pausing:
            self.trouble = None

    def was_fetched(self, block: Block) -> str:
        """A block is whole; its checksum, for the journal."""
        assert block.got == block.length, "the thread saw its end"
        text = text_of(block.running)
        del self._moving[block.index]
        self._put(block.index, text)
        return text

    def was_cut(self, block: Block, problem: Problem, now: float, pause: float = 0.0) -> None:
        """A connection broke or storage cannot answer now: what came is kept."""
        del self._moving[block.index]
        if problem.permanent:
            self.give_up(problem)
            return
        self._tired(problem, now)
        block.tries += 1
        heapq.heappush(self._pausing, (now + pause + self._jitter(block.tries), block.index, block))

    def was_refused(self, block: Block, link: int, problem: Problem, now: float) -> None:
        """Storage refuses the link: expired, or for something that is not there. The next one is asked for."""
        del self._moving[block.index]
        self._todo.appendleft(block)
        if link != self._link or self._stale:
            return  # it has been renewed meanwhile, or is about to be
        self._stale = True
        self._refused += 1
        if self._refused > REFUSALS:
            self.give_up(problem)
            return
        if self._refused > 1:  # a fresh one was refused: not too fast
            self._renew_after = now + self._jitter(self._refused)
            self.trouble = str(problem)

    def was_renewed(self) -> None:
        self._renewing = self._stale = False
        self._link += 1

    def renewal_failed(self, problem: Problem, now: float, pause: float = 0.0) -> None:
        self._renewing = False
        if problem.permanent:
            self.give_up(problem)
            return
        self._tired(problem, now)
        self._renew_tries += 1
        self._renew_after = now + pause + self._jitter(self._renew_tries)

    def was_checked(self, index: int, text: str) -> None:
        """What an earlier run wrote: counts when it is what it noted then, else the block is fetched again."""
        self._checking.discard(index)
        if text == self.claimed[index]:
            self.resumed += self._length(index)
            self._put(index, text)
        else:
            self._todo.append(self._fresh_block(index))

    def give_up(self, problem: Problem) -> None:
        """End with `problem`; the first one stands."""
        if self._end is None:
            self._end = End(problem)

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def checksum(self) -> str | None:
        """Of the whole file, once every block is done; None where checksums of this kind do not combine."""
        return combined(self.algorithm, self._parts())

    def _parts(self) -> Iterable[tuple[str, int]]:
        return ((self._done[index], self._length(index)) for index in range(self.count))

    def _put(self, index: int, text: str) -> None:
        self._done[index] = text
        self._held += self._length(index)

    def _length(self, index: int) -> int:
        return min(self.block, self.size - index * self.block)

    def _fresh_block(self, index: int) -> Block:
        return Block(index, index * self.block, self._length(index), start(self.algorithm))

    def _tired(self, problem: Problem, now: float) -> None:
        self.retries += 1
        self.trouble = str(problem)
        if self._alive_at is not None and now - self._alive_at >= self.patience:
            self.give_up(
                Unavailable(
                    "no_progress",
                    f"For {self.patience:.0f} seconds not a byte came, so the download paused by itself. Last: {problem}",
                )
            )

    def _jitter(self, tries: int) -> float:
        """Full jitter (aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter)."""
        most: float = min(self.backoff_most, self.backoff * 2.0 ** min(tries, 16))
        return most * self.chance()
