from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from rushes.client.folder import gather


def grown(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


def told(root: Path, *given: str | Path) -> list[tuple[str, str | None]]:
    return [(str(found.path.relative_to(root)), found.relative_path) for found in gather(given).files]


def test_a_folder_keeps_its_structure_in_the_order_of_names(tmp_path: Path) -> None:
    grown(tmp_path, "trip/day 10/a.mov", "trip/day 2/b10.mov", "trip/day 2/b9.mov", "trip/z.mov")
    assert told(tmp_path, tmp_path / "trip") == [
        ("trip/day 2/b9.mov", "trip/day 2/b9.mov"),
        ("trip/day 2/b10.mov", "trip/day 2/b10.mov"),
        ("trip/day 10/a.mov", "trip/day 10/a.mov"),
        ("trip/z.mov", "trip/z.mov"),
    ]


@pytest.mark.parametrize("name", ["trip/", "trip/.", "trip/day/.."])
def test_a_folder_has_its_own_name_however_it_is_written(tmp_path: Path, name: str) -> None:
    grown(tmp_path, "trip/day/a.mov")
    assert [found.relative_path for found in gather([f"{tmp_path}/{name}"]).files] == ["trip/day/a.mov"]


def test_files_named_have_no_place_in_a_folder_and_may_be_hidden(tmp_path: Path) -> None:
    grown(tmp_path, "b.mov", ".a.mov")
    assert told(tmp_path, tmp_path / "b.mov", tmp_path / ".a.mov") == [("b.mov", None), (".a.mov", None)]


def test_patterns(tmp_path: Path) -> None:
    grown(tmp_path, "c10.mov", "c9.mov", "c.txt", "sub/c1.mov", "odd[1].mov", "odd1.mov")
    assert told(tmp_path, f"{tmp_path}/*.mov") == [
        ("c9.mov", None), ("c10.mov", None), ("odd1.mov", None), ("odd[1].mov", None)
    ]  # fmt: skip
    assert ("sub/c1.mov", None) in told(tmp_path, f"{tmp_path}/**/*.mov")
    assert told(tmp_path, tmp_path / "odd[1].mov") == [("odd[1].mov", None)], "a name is taken before a pattern"
    listing = gather([f"{tmp_path}/*.mxf"])
    assert [problem.code for _, problem in listing.failed] == ["pattern_empty"]


def test_what_is_left_out_is_told(tmp_path: Path) -> None:
    grown(tmp_path, "trip/.DS_Store", "trip/.hidden/a.mov", "trip/a.mov")
    (tmp_path / "trip/empty.mov").touch()
    (tmp_path / "trip/dangling").symlink_to("nowhere")
    os.link(tmp_path / "trip/a.mov", tmp_path / "trip/b.mov")
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "trip/door"))
    listing = gather([tmp_path / "trip"])
    assert [found.path.name for found in listing.files] == ["a.mov"]
    assert {skipped.path.name: skipped.why for skipped in listing.skipped} == {
        ".DS_Store": "is hidden",
        ".hidden": "is hidden",
        "empty.mov": "is empty",
        "dangling": "is a link to nothing",
        "b.mov": f"is the same as {tmp_path / 'trip/a.mov'}",
        "door": "is not an ordinary file",
    }
    assert listing.failed == []


def test_what_was_named_and_cannot_be_had_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "empty.mov").touch()
    os.mkfifo(tmp_path / "pipe")
    listing = gather([tmp_path / "empty.mov", tmp_path / "none.mov", tmp_path / "pipe"])
    assert [problem.code for _, problem in listing.failed] == ["file_empty", "file_missing", "file_special"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    grown(tmp_path, "trip/a/one.mov", "other/two.mov")
    (tmp_path / "trip/a/up").symlink_to(tmp_path / "trip")
    (tmp_path / "trip/b").symlink_to(tmp_path / "other")
    (tmp_path / "other/back").symlink_to(tmp_path / "trip/a")
    listing = gather([tmp_path / "trip"])
    assert [found.relative_path for found in listing.files] == ["trip/a/one.mov", "trip/b/two.mov"]
    assert {skipped.path.name for skipped in listing.skipped} == {"up", "back"}


def test_the_same_folder_named_twice_is_taken_once(tmp_path: Path) -> None:
    grown(tmp_path, "trip/a.mov")
    assert len(gather([tmp_path / "trip", tmp_path / "trip", tmp_path / "trip/a.mov"]).files) == 1


def test_names_that_are_no_text(tmp_path: Path) -> None:
    grown(tmp_path, os.fsdecode(b"trip/\xff\n.mov").replace("\udcff\n", "x"))
    (tmp_path / "trip/x.mov").rename(tmp_path / os.fsdecode(b"trip/\xff\n.mov"))
    (found,) = gather([tmp_path / "trip"]).files
    assert os.fsencode(found.path).endswith(b"\xff\n.mov")
