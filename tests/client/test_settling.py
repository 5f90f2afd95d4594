"""When a file of a watched folder counts as finished: by a model of people and programs that write into it."""

from __future__ import annotations

import random
from pathlib import PurePath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.client.settling import LONGEST_REST, Decision, Settling, Stage, Stamp, is_wanted, without_halves

A, B, C = PurePath("a.mov"), PurePath("b.mov"), PurePath("day 1/c.mov")


def stamp(inode: int = 1, size: int = 10, mtime: int = 0, blocks: int = 0) -> Stamp:
    return Stamp(1, inode, size, mtime, blocks)


def test_a_file_is_begun_once_nothing_has_changed_for_so_long() -> None:
    settling = Settling(10)
    assert settling.look({A: stamp()}, 0.0).begin == []
    assert settling.look({A: stamp(size=11)}, 9.0).begin == [], "it grows"
    assert settling.look({A: stamp(size=11, blocks=8)}, 18.0).begin == [], "its space is still being written"
    assert settling.look({A: stamp(size=11, blocks=8)}, 27.0).begin == []
    assert settling.soonest(27.0) == 1.0
    assert settling.look({A: stamp(size=11, blocks=8)}, 28.0).begin == [A]
    assert settling.look({A: stamp(size=11, blocks=8)}, 99.0).begin == [], "once"


def test_an_empty_file_waits_for_its_content() -> None:
    settling = Settling(1)
    settling.look({A: stamp(size=0)}, 0.0)
    assert settling.look({A: stamp(size=0)}, 50.0).begin == []
    assert settling.waiting == []
    settling.look({A: stamp(size=5)}, 51.0)
    assert settling.look({A: stamp(size=5)}, 52.0).begin == [A]


def test_a_file_is_the_same_under_another_name() -> None:
    settling = Settling(10)
    settling.look({A: stamp(1)}, 0.0)
    assert settling.look({B: stamp(1)}, 9.0) == Decision()
    assert settling.look({B: stamp(1)}, 10.0).begin == [B], "its time goes on"
    assert settling.look({C: stamp(1)}, 11.0) == Decision(renamed=[(B, C)])
    assert settling.look({}, 12.0) == Decision(gone=[C])
    assert not settling.files


def test_two_files_that_change_names_stay_themselves() -> None:
    settling = Settling(1)
    settling.look({A: stamp(1), B: stamp(2)}, 0.0)
    assert settling.look({A: stamp(1), B: stamp(2)}, 1.0).begin == [A, B]
    swapped = settling.look({A: stamp(2), B: stamp(1)}, 2.0)
    assert sorted(swapped.renamed) == [(A, B), (B, A)]
    assert not swapped.gone


def test_another_file_that_takes_the_name_is_a_new_one() -> None:
    settling = Settling(1)
    settling.look({A: stamp(1)}, 0.0)
    assert settling.look({A: stamp(1)}, 1.0).begin == [A]
    assert settling.look({A: stamp(2, mtime=9)}, 2.0) == Decision(gone=[A])
    assert settling.look({A: stamp(2, mtime=9)}, 3.0).begin == [A]


def test_drives_that_make_up_the_numbers_of_files_settle_as_others() -> None:
    settling = Settling(1)
    settling.look({A: stamp(1)}, 0.0)
    assert settling.look({A: stamp(2)}, 1.0).begin == [A]
    assert settling.look({A: stamp(3)}, 2.0) == Decision()


def test_what_was_written_to_meanwhile_is_begun_anew() -> None:
    settling = Settling(1)
    settling.look({A: stamp()}, 0.0)
    settling.look({A: stamp()}, 1.0)
    settling.look({A: stamp(size=20)}, 1.5)
    settling.changed(A, 2.0)
    assert settling.look({A: stamp(size=20)}, 2.9).begin == []
    assert settling.look({A: stamp(size=20)}, 3.0).begin == [A]
    assert settling.files[A].anew


def test_what_is_handled_is_left_alone_until_somebody_writes_to_it() -> None:
    settling = Settling(1)
    settling.look({A: stamp(blocks=1)}, 0.0)
    settling.look({A: stamp(blocks=1)}, 1.0)
    settling.handled(A)
    assert settling.look({A: stamp(blocks=2)}, 60.0).begin == [], "file systems move blocks by themselves"
    assert settling.look({A: stamp(blocks=2)}, 90.0).begin == []
    assert settling.look({B: stamp(blocks=2)}, 90.5) == Decision(renamed=[(A, B)])
    settling.look({B: stamp(mtime=5)}, 91.0)
    assert settling.look({B: stamp(mtime=5)}, 92.0).begin == [B]


def test_rests_grow_and_end_with_a_change() -> None:
    settling, now, rests = Settling(1), 0.0, []
    settling.look({A: stamp()}, now)
    for _ in range(9):
        now += LONGEST_REST
        assert settling.look({A: stamp()}, now).begin == [A]
        rests.append(settling.rest(A, now))
        assert settling.look({A: stamp()}, now + rests[-1] - 0.1).begin == []
    assert rests == sorted(rests)
    assert (rests[0], rests[-1]) == (15.0, LONGEST_REST)
    settling.look({A: stamp(size=11)}, now + 1)
    assert settling.look({A: stamp(size=11)}, now + 2).begin == [A]


@given(seed=st.integers(0, 2**32))
def test_whatever_people_do_every_file_that_is_left_alone_is_begun_as_it_is(seed: int) -> None:
    """Random writing, renaming, deleting; at the end everybody goes home, and what is there is begun, once, unchanged."""
    chance, settle = random.Random(seed), 5.0
    settling, now, inodes = Settling(settle), 0.0, 0
    there: dict[PurePath, Stamp] = {}
    names = [PurePath(name) for name in "abcdef"]
    begun: dict[int, Stamp] = {}
    changed_at: dict[int, float] = {}
    for step in range(80):
        now += chance.random() * 2
        name, other = chance.sample(names, 2)
        if step < 60:
            match chance.choice(["write", "write", "rename", "delete", "nothing"]):
                case "write":
                    old = there.get(name)
                    inodes += old is None
                    size = chance.randint(0, 3) if old is None else old.size + 1
                    there[name] = stamp(inodes if old is None else old.inode, size, step)
                    changed_at[there[name].inode] = now
                case "rename" if name in there:
                    there[other] = there.pop(name)
                case "delete":
                    there.pop(name, None)
        decision = settling.look(dict(there), now)
        assert set(settling.files) == set(there)
        for path in decision.begin:
            assert there[path].size > 0
            assert now - changed_at[there[path].inode] >= settle, "nobody writes to it"
            assert begun.get(there[path].inode) != there[path], "once"
            begun[there[path].inode] = there[path]
        for path, file in list(settling.files.items()):
            if file.stage is Stage.UNDER_WAY and chance.random() < 0.5:
                if begun[file.stamp.inode] != file.stamp:
                    settling.changed(path, now)
                elif chance.random() < 0.2:
                    settling.rest(path, now)
                    begun.pop(file.stamp.inode)
                else:
                    settling.handled(path)
    for _ in range(20):
        now += LONGEST_REST
        for path in settling.look(dict(there), now).begin:
            begun[there[path].inode] = there[path]
        for path, file in list(settling.files.items()):
            if file.stage is Stage.UNDER_WAY and begun[file.stamp.inode] != file.stamp:
                settling.changed(path, now)
    assert {path: begun[s.inode] for path, s in there.items() if s.size} == {p: s for p, s in there.items() if s.size}


@pytest.mark.parametrize(
    ("name", "patterns", "wanted"),
    [
        ("a.mov", [], True),
        ("day 1/a.mov", [], True),
        (".a.mov", [], False),
        (".trash/a.mov", [], False),
        ("a.mov.part", [], False),
        ("a.mov.CRDOWNLOAD", [], False),
        ("~$a.docx", [], False),
        ("a.mov~", [], False),
        ("Thumbs.db", [], False),
        ("a.MOV", ["*.mov"], True),
        ("a.mxf", ["*.mov", "*.mxf"], True),
        ("a.wav", ["*.mov"], False),
        ("day 1/a.mov", ["day 1/*"], True),
        ("day 2/a.mov", ["day 1/*"], False),
        ("a.partial.mov", [], True),
    ],
)
def test_names(name: str, patterns: list[str], wanted: bool) -> None:
    assert is_wanted(PurePath(name), patterns) is wanted


def test_a_file_beside_its_unfinished_half_is_not_finished() -> None:
    everything = ["a.mov", "a.mov.part", "b.mov", "day 1/c.mov", "c.mov.aria2"]
    assert without_halves([A, B, C], everything) == [B, C]
