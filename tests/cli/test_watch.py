"""`rushes watch` over a directory in which people and programs work, against a whole stack, killed and started again.

Files grow slowly, are renamed, appear under unfinished names, in space that was taken before, are replaced, written to and
deleted, some of it right while they are uploaded. In the end the server holds every file that is left, whole and once, and
nothing that was ever half.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from rushes.checksum import crc64nvme, encode
from rushes.cli import exits
from tests.cli.conftest import Person, Rushes
from tests.e2e.equipment import until

SETTLE = 1.5  # seconds
MB = 1_000_000


class Set:
    """A film set: everybody who writes into the folder, and what may ever have been whole."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.random = random.Random()
        self.left: dict[str, bytes] = {}  # by the names that files have in the end
        self.whole: set[str] = set()  # checksums of what was complete at some time
        self.threads: list[threading.Thread] = []
        self.when_begun: dict[
            str, tuple[Callable[[], None], Callable[[], None]]
        ] = {}  # what to do; what if it is too late

    def data(self, size: int) -> bytes:
        data = self.random.randbytes(size)
        self.whole.add(encode(crc64nvme(data)))
        return data

    def write(self, name: str, data: bytes, pieces: int = 8) -> None:
        """Slowly; a pause that the machine made longer than it should be may be taken for the end."""
        path, size, last = self.folder / name, -(-len(data) // pieces), time.monotonic()
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("r+b" if path.exists() else "wb", buffering=0) as file:
            for at in range(0, len(data), size):
                if time.monotonic() - last > SETTLE * 0.7:
                    self.whole.add(encode(crc64nvme(path.read_bytes())))
                file.write(data[at : at + size])
                last = time.monotonic()
                time.sleep(self.random.uniform(0, SETTLE / 4))

    def work(self, *jobs: Callable[[], None]) -> None:
        for job in jobs:
            self.threads.append(threading.Thread(target=job))
            self.threads[-1].start()

    def wrap(self) -> None:
        for thread in self.threads:
            thread.join()

    # --- what happens -----------------------------------------------------------------------------------------------

    def grows(self) -> None:
        self.left["grows.mov"] = self.data(6 * MB)
        self.write("grows.mov", self.left["grows.mov"], 12)

    def is_unfinished_first(self) -> None:
        self.left["card 1/download.mov"] = self.data(5 * MB)
        self.write("card 1/download.mov.part", self.left["card 1/download.mov"])
        (self.folder / "card 1" / "download.mov.part").rename(self.folder / "card 1" / "download.mov")

    def takes_its_space_first(self) -> None:
        data = self.left["sparse.mov"] = self.data(8 * MB)
        with (self.folder / "sparse.mov").open("wb") as file:
            file.truncate(len(data))
        self.write("sparse.mov", data)

    def is_renamed_while_it_settles(self) -> None:
        self.left["card 2/renamed.mov"] = self.data(3 * MB)
        self.write("untitled.mov", self.left["card 2/renamed.mov"])
        (self.folder / "untitled.mov").rename(self.folder / "untitled (2).mov")
        (self.folder / "card 2").mkdir()
        (self.folder / "untitled (2).mov").rename(self.folder / "card 2" / "renamed.mov")

    def is_deleted_half_way(self) -> None:
        self.write("mistake.mov", self.random.randbytes(2 * MB))
        (self.folder / "mistake.mov").unlink()

    def is_replaced(self) -> None:
        self.write("edit.mov", self.random.randbytes(2 * MB))
        self.left["edit.mov"] = self.data(2 * MB + 1)
        (self.folder / ".edit.mov.new").write_bytes(self.left["edit.mov"])
        (self.folder / ".edit.mov.new").replace(self.folder / "edit.mov")

    def changes_under_way(self) -> None:
        """Three files to which something happens the moment their upload begins."""
        self.left["new name.mov"] = self.data(30 * MB)
        gone, late, more = self.data(30 * MB), self.data(30 * MB), self.random.randbytes(MB)
        self.left["late.mov"] = late + more
        self.whole.add(encode(crc64nvme(self.left["late.mov"])))
        folder = self.folder

        def append() -> None:
            with (folder / "late.mov").open("r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(more)

        def rename() -> None:
            (folder / "old name.mov").rename(folder / "new name.mov")

        self.when_begun["old name.mov"] = (
            rename,
            lambda: self.left.update({"old name.mov": self.left.pop("new name.mov")}),
        )
        self.when_begun["gone.mov"] = ((folder / "gone.mov").unlink, lambda: None)
        self.when_begun["late.mov"] = (append, lambda: self.left.update({"late.mov": late}))
        (folder / "old name.mov").write_bytes(self.left["new name.mov"])
        (folder / "gone.mov").write_bytes(gone)
        (folder / "late.mov").write_bytes(late)


class Watching:
    """`rushes watch` as a process, and what it tells."""

    def __init__(self, ann: Person, environment: dict[str, str], people: Set) -> None:
        command = [sys.executable, "-m", "rushes", "watch", str(people.folder), "--settle", str(SETTLE), "--json"]
        self.process = subprocess.Popen([*command, *ann.options], env=environment, stdout=subprocess.PIPE, text=True)
        self.told: list[dict[str, str]] = []
        self._people = people
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            told = json.loads(line)
            self.told.append(told)
            if told["kind"] == "begun" and Path(told["path"]).name in self._people.when_begun:
                act, too_late = self._people.when_begun.pop(Path(told["path"]).name)
                try:
                    act()
                except FileNotFoundError:  # a machine with a lot to do: it is stored and moved already
                    too_late()

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        code = self.process.wait(30)
        self._reader.join()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code


def test_a_folder_in_which_everything_happens(
    ann: Person, environment: dict[str, str], tmp_path: Path, round_: int
) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    people = Set(folder)
    watch = Watching(ann, environment, people)
    people.work(
        people.grows, people.is_unfinished_first, people.takes_its_space_first, people.is_renamed_while_it_settles,
        people.is_deleted_half_way, people.is_replaced, people.changes_under_way,
    )  # fmt: skip
    until(
        lambda: len([told for told in watch.told if told["kind"] == "begun"]) >= people.random.randint(1, 6), 60, "idle"
    )
    watch.end(signal.SIGKILL)
    before = watch.told
    watch = Watching(ann, environment, people)
    people.wrap()
    done = folder / "done"
    try:
        until(lambda: all((done / name).exists() for name in list(people.left)), 90, "not all is done")
    finally:
        print(before, watch.told, sep="\n")  # shown when it fails
    assert watch.end(signal.SIGINT) == exits.INTERRUPTED

    for name, data in people.left.items():
        assert (done / name).read_bytes() == data
        assert not (folder / name).exists()
    assets = [asset for asset in ann.client.assets.all() if asset.original_url is not None]
    stored = [asset.checksum.value for asset in assets]
    assert set(stored) <= people.whole, "nothing that was ever half"
    for name, data in people.left.items():
        found = [asset for asset in assets if asset.checksum.value == encode(crc64nvme(data))]
        assert len(found) == 1, f"{name} is stored {len(found)} times"
        assert found[0].verification == "end_to_end"
        assert found[0].filename == Path(name).name
    assert not [upload for upload in ann.client.uploads.all() if upload.state in {"initiated", "uploading"}], (
        "nothing lies about"
    )


def test_once_with_a_title_for_each_folder(ann: Person, rushes_here: Rushes, tmp_path: Path) -> None:
    folder = tmp_path / "shoot"
    for name in ("a.mov", "day 1/b.mov", "day 1/c.mov", "day 2/d.mov"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(os.urandom(1000))
    options = ("--once", "--settle", "0.3", "--title-from", "folder")
    done = rushes_here("watch", folder, *options, *ann.options)
    assert done.returncode == exits.OK, done.stderr
    assert "4 files stored." in done.stdout
    titles = {upload.filename: upload.title for upload in ann.client.uploads.all()}
    assert titles == {"a.mov": "shoot", "b.mov": "day 1", "c.mov": "day 1", "d.mov": "day 2"}
    assert len(list(ann.client.titles.all())) == 3
    (folder / "day 1" / "e.mov").write_bytes(b"e")
    (folder / "refused.pdf").write_bytes(b"%PDF-1.4")
    again = rushes_here("watch", folder, *options, *ann.options)
    assert again.returncode == exits.REFUSED
    assert "1 file stored, 1 refused." in again.stdout
    assert (folder / "failed" / "refused.pdf").exists()
    assert "pdf" in (folder / "failed" / "refused.pdf.reason.txt").read_text()
    assert len(list(ann.client.titles.all())) == 3, "the folder has its title already"


def test_what_cannot_be_watched_is_said(rushes_here: Rushes, at: tuple[str, ...], tmp_path: Path) -> None:
    for arguments, said in (
        ([tmp_path / "none"], "cannot be read"),
        ([tmp_path, "--keep", "--done", tmp_path / "x"], "not both"),
    ):
        done = rushes_here("watch", *arguments, "--once", *at)
        assert (done.returncode, said in done.stderr) == (exits.USAGE, True), done.stderr
        assert "Watching" not in done.stdout
