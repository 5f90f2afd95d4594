"""Uploads in processes of their own, which can be killed; what has to come of them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from rushes.checksum import crc64nvme
from rushes.client import Journal, Outcome, Wishes
from tests.client.equipment import TOKEN, Site

PART = 5 << 20
COUNT = 6
FEW = Wishes(part_size=PART)

MakeFile = Callable[..., Path]


SCRIPT = """
import signal
import sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell runs in the background
from pathlib import Path
from rushes.client import Client, Journal, Limits, Wishes
url, token, state, *paths = sys.argv[1:]
with Client(url, token, journal=Journal(Path(state))) as client:
    for outcome in client.upload_many(paths, Wishes(part_size=5 << 20, checksum=['sha256']), limits=Limits(parallel=1)):
        print(outcome.state, outcome.error, flush=True)
"""


def process(site: Site, journal: Journal, *paths: Path, token: str = TOKEN) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SCRIPT, site.url, token, str(journal.directory), *map(str, paths)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def killed_at(site: Site, journal: Journal, path: Path, at: int = 4, number: int = signal.SIGKILL) -> None:
    """A process uploads, and is killed while the `at`th part is on its way."""
    reached, ended = threading.Event(), threading.Event()

    def before(_part: int) -> None:
        if len(site.only().stored) == at - 1:
            reached.set()
            ended.wait(60)

    site.before_put = before
    with process(site, journal, path) as running:
        assert reached.wait(30)
        running.send_signal(number)
        running.communicate(timeout=20)
        ended.set()
    site.before_put = None


def one(outcomes: list[Outcome]) -> Outcome:
    (outcome,) = outcomes
    return outcome


def whole(site: Site, path: Path) -> None:
    upload = next(upload for upload in reversed(site.uploads.values()))
    assert upload.state == "ingested"
    assert upload.crc == crc64nvme(path.read_bytes())
