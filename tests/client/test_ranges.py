"""The download's state machine: whatever happens to whichever block, the bytes come once and the checksum is the file's."""

from __future__ import annotations

import random
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.checksum import compute, text_of
from rushes.client.ranges import BLOCK, MOST_BLOCKS, Check, End, Fetch, Ranges, Renew, Wait, block_size
from rushes.errors import Rejected, Unavailable
from rushes.model import ChecksumAlgorithm

CRC = ChecksumAlgorithm.CRC64NVME
BROKEN = Unavailable("network_broken", "The line broke.")
REFUSED = Rejected("link_refused", "The link is refused.")


def checksums(data: bytes, block: int, algorithm: ChecksumAlgorithm = CRC) -> dict[int, str]:
    return {n: compute(algorithm, data[at : at + block]) for n, at in enumerate(range(0, len(data), block))}


@given(
    size=st.integers(1, 200),
    block=st.integers(1, 40),
    algorithm=st.sampled_from([CRC, ChecksumAlgorithm.CRC32C]),
    seed=st.integers(0, 2**32),
)
def test_every_byte_comes_whatever_happens(size: int, block: int, algorithm: ChecksumAlgorithm, seed: int) -> None:
    chance = random.Random(seed)
    data = chance.randbytes(size)
    said = checksums(data, block, algorithm)
    claimed = {n: said[n] for n in said if chance.random() < 0.3}
    parts = [(n, data[n * block :][:block]) for n in said]
    wrong = {n for n in claimed if chance.random() < 0.3}
    ranges = Ranges(size, block, algorithm, claimed, chance=chance.random)
    wrote = [
        chance.randbytes(len(part)) if n in wrong else part if n in claimed else bytes(len(part)) for n, part in parts
    ]
    file = bytearray(b"".join(wrote))
    now, links, fetching = 0.0, 1, list[Fetch]()
    for _ in count():
        now += chance.random()
        action = ranges.next(now, prefer_check=chance.random() < 0.5)
        match action:
            case End():
                assert action.problem is None
                break
            case Check():
                text = compute(algorithm, bytes(file[action.start : action.start + action.length]))
                ranges.was_checked(action.index, text)
            case Renew():
                if chance.random() < 0.3:
                    ranges.renewal_failed(BROKEN, now)
                else:
                    links += 1
                    ranges.was_renewed()
            case Wait():
                assert action.until is not None or fetching, "somebody is at work"
                now = max(now, action.until or now)
            case Fetch():
                assert action.block.index not in [other.block.index for other in fetching], "one line a block"
                fetching.append(action)
        if fetching and (isinstance(action, Wait) or chance.random() < 0.5):
            _move(ranges, fetching, chance, data, file, links, now)
        assert 0 <= ranges.held <= size
    assert bytes(file) == data
    assert ranges.checksum() == compute(algorithm, data)
    assert ranges.held == size
    assert ranges.resumed == sum(len(part) for n, part in parts if n in claimed and wrote[n] == part)


def _move(
    ranges: Ranges, fetching: list[Fetch], chance: random.Random, data: bytes, file: bytearray, links: int, now: float
) -> None:
    """Something comes of one of the fetches: some bytes, and then all, a cut, or a refusal."""
    fetch = fetching.pop(chance.randrange(len(fetching)))
    block = fetch.block
    if fetch.link != links or (links % 2 and chance.random() < 0.1):  # every second link is good
        ranges.was_refused(block, fetch.link, REFUSED, now)
        return
    some = chance.randint(0, block.length - block.got)
    chunk = data[block.at : block.at + some]
    file[block.at : block.at + some] = chunk
    block.running.update(chunk)
    if some:
        ranges.took(block, some, now)
    if block.got == block.length:
        assert ranges.was_fetched(block) == text_of(block.running)
    else:
        ranges.was_cut(block, BROKEN, now)


def ranges_of(size: int = 30, block: int = 10) -> Ranges:
    return Ranges(size, block, CRC, chance=lambda: 1.0)


def fetch(ranges: Ranges, now: float = 0.0) -> Fetch:
    action = ranges.next(now)
    assert isinstance(action, Fetch)
    return action


def test_what_came_before_a_cut_is_not_asked_for_again() -> None:
    ranges = ranges_of(size=10)
    first = fetch(ranges)
    ranges.took(first.block, 4, 1.0)
    ranges.was_cut(first.block, BROKEN, 1.0)
    assert ranges.trouble == "The line broke."
    assert ranges.next(1.0) == Wait(2.0)
    again = fetch(ranges, 2.0)
    assert (again.block.at, again.block.end, again.fresh) == (4, 10, True)
    ranges.took(again.block, 1, 2.0)
    assert ranges.trouble is None


def test_one_thread_renews_a_refused_link_and_the_others_wait() -> None:
    ranges = ranges_of()
    one, two = fetch(ranges), fetch(ranges)
    ranges.was_refused(one.block, one.link, REFUSED, 0.0)
    assert ranges.next(0.0) == Renew()
    assert ranges.next(0.0) == Wait(None)
    ranges.was_renewed()
    ranges.was_refused(two.block, two.link, REFUSED, 0.0)  # under the old one: says nothing of the new one
    assert {fetch(ranges).link for _ in range(3)} == {2}


def test_a_link_that_expires_under_many_lines_is_refused_once() -> None:
    ranges = Ranges(100, 1, CRC)
    for moving in [fetch(ranges) for _ in range(32)]:
        ranges.was_refused(moving.block, moving.link, REFUSED, 0.0)
    assert ranges.next(0.0) == Renew()


def test_fresh_links_that_are_refused_end_it_with_the_reason() -> None:
    ranges, now = ranges_of(), 0.0
    for _ in range(20):
        action = ranges.next(now)
        match action:
            case Fetch():
                ranges.was_refused(action.block, action.link, REFUSED, now)
            case Renew():
                ranges.was_renewed()
            case Wait():
                assert action.until is not None
                now = action.until
            case End():
                assert action.problem is REFUSED
                assert now < 30
                return
    raise AssertionError("it goes on for ever")


def test_it_pauses_by_itself_after_its_patience_and_says_why() -> None:
    ranges, now, ended = ranges_of(size=10), 0.0, None
    while ended is None:
        action = ranges.next(now)
        match action:
            case Fetch():
                now += 10
                ranges.was_cut(action.block, BROKEN, now)
            case Wait():
                assert action.until is not None
                now = action.until
            case End():
                ended = action.problem
            case _:
                raise AssertionError(action)
    assert isinstance(ended, Unavailable)
    assert ended.code == "no_progress"
    assert "The line broke." in ended.message
    assert 300 <= now < 350


def test_a_byte_now_and_then_is_progress() -> None:
    ranges, now = ranges_of(size=100, block=100), 0.0
    for _ in range(60):
        action = ranges.next(now)
        if isinstance(action, Wait):
            assert action.until is not None
            now = action.until
            continue
        assert isinstance(action, Fetch), "it is still at it"
        now += 100
        ranges.took(action.block, 1, now)
        ranges.was_cut(action.block, BROKEN, now)


@pytest.mark.parametrize("size", [1, 1 << 20, 9 << 20, 100 << 20, 1 << 30, 300 << 30, 48 << 40])
def test_blocks_are_neither_too_many_nor_too_large(size: int) -> None:
    block = block_size(size, 4)
    assert block % (1 << 20) == 0
    assert -(-size // block) <= MOST_BLOCKS
    assert block <= max(BLOCK, 2 * size // MOST_BLOCKS)
    if size >= 8 << 20:
        assert -(-size // block) >= 4, "enough for every line"
