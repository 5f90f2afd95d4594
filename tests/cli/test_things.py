"""`ls`, `status`, `rm` and `titles` against a whole stack."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from rushes.cli import exits
from rushes.cli.view import process_words, under_way
from rushes.client import Client
from rushes.model import OverallStatus
from rushes.wire import BeginUpload, NewTitle
from tests.cli.conftest import Person, Rushes
from tests.cli.terminal import on_a_terminal
from tests.e2e.equipment import Site as Stack
from tests.e2e.equipment import until


@pytest.fixture
def as_ann(ann: Person, rushes_here: Rushes) -> Rushes:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return rushes_here(*arguments, *ann.options)

    return run


def begin(client: Client, name: str, title: str | None = None) -> Any:
    wanted = BeginUpload(filename=name, size=1000, title=None if title is None else NewTitle(title=title))
    return client.uploads.begin(wanted, str(uuid4()))


def ids(done: subprocess.CompletedProcess[str], name: str = "id") -> list[str]:
    assert done.returncode == exits.OK, done.stderr
    return [json.loads(line)[name] for line in done.stdout.splitlines()]


def test_a_list_says_what_is_what_and_goes_on_where_it_ended(as_ann: Rushes, ann: Person) -> None:
    begun = [begin(ann.client, f"take {n}.mov", f"Night {n}") for n in range(5)]
    newest_first = [str(one.upload_id) for one in reversed(begun)]
    shown = as_ann("ls", "--limit", "2")
    for text in ("take 4.mov", "Night 3", "initiated", "1 kB", f"More: rushes ls --after {newest_first[1]}"):
        assert text in shown.stdout
    assert "take 2.mov" not in shown.stdout
    rest = as_ann("ls", "--after", newest_first[1])
    assert ("take 2.mov" in rest.stdout, "take 3.mov" in rest.stdout, "More:" in rest.stdout) == (True, False, False)
    assert ids(as_ann("ls", "--all", "--json")) == newest_first
    ann.client.uploads.abort(begun[4].upload_id)
    assert ids(as_ann("ls", "--json")) == newest_first[1:]
    assert ids(as_ann("ls", "--json", "--gone")) == newest_first
    assert ids(as_ann("ls", "--json", "--status", "aborted")) == newest_first[:1]
    assert as_ann("ls", "--status", "published").stdout == "Nothing of that kind.\n"
    assert ids(as_ann("ls", "--title", begun[0].title_id, "--json")) == [str(begun[0].asset_id)]


def test_a_file_is_followed_listed_and_removed(
    as_ann: Rushes, ann: Person, tiny_clip: Path, environment: dict[str, str]
) -> None:
    begun = threading.Event()
    upload: list[UUID] = []

    def remember(answer: Any) -> None:
        upload.append(answer.upload_id)
        begun.set()

    sending = threading.Thread(target=lambda: ann.client.upload(tiny_clip, title="Follow me", on_begin=remember))
    sending.start()
    assert begun.wait(20)
    followed = as_ann("status", upload[0], "--follow")
    sending.join()
    assert followed.returncode == exits.OK, followed.stderr
    assert "tiny.mp4 is published" in followed.stdout
    told = as_ann("status", upload[0], "--follow", "--json")
    asset = json.loads(told.stdout.splitlines()[-1])
    assert asset["title"] == "Follow me"
    assert ids(as_ann("ls", "--status", "published", "--json")) == [asset["id"]]
    assert asset["id"] in as_ann("ls").stdout

    assert "give --yes" in as_ann("rm", asset["id"]).stderr, "nobody is at the keyboard"
    for answer, said in (("n", "Nothing was changed"), ("y", "Deleted: tiny.mp4")):
        code, shown = on_a_terminal(
            "rm", asset["id"], *ann.options, environment=environment, asked="for good?", answer=answer
        )
        assert (code, said in shown) == (exits.OK, True), shown
    assert as_ann("ls").stdout == "No uploads yet.\n"
    again = as_ann("rm", asset["id"], upload[0], "--yes")
    assert again.returncode == exits.REFUSED
    assert "was deleted already" in again.stderr
    gone = as_ann("status", upload[0], "--follow")
    assert (gone.returncode, "deleted" in gone.stderr) == (exits.REFUSED, True)


def test_some_that_can_be_removed_and_some_that_cannot(as_ann: Rushes, ann: Person) -> None:
    open_one, absent = begin(ann.client, "half.mov"), uuid4()
    done = as_ann("rm", open_one.upload_id, absent, "--yes", "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(row["id"], row["ok"]) for row in told] == [(str(open_one.upload_id), True), (str(absent), False)]
    assert done.returncode == exits.REFUSED
    assert ann.client.uploads.get(open_one.upload_id).state == "aborted"
    assert "Given up: other.mov" in as_ann("rm", begin(ann.client, "other.mov").asset_id, "-y").stdout


def test_ctrl_c_ends_looking_and_nothing_else(ann: Person, environment: dict[str, str]) -> None:
    upload_id = str(begin(ann.client, "slow.mov").upload_id)
    command = [sys.executable, "-m", "rushes", "status", upload_id, "-f", *ann.options]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "initiated, 0 B of 1 kB held\n"
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert (process.returncode, "goes on by itself" in said) == (exits.INTERRUPTED, True)


def test_titles_are_made_found_changed_and_deleted(as_ann: Rushes, ann: Person) -> None:
    made = json.loads(
        as_ann(
            "titles", "create", "Harbour at night", "--project", "Harbour", "--tag", "raw", "--tag", "night",
            "--metadata", "camera=A", "--metadata", "lens=50", "--release-date", "2026-11-21", "--json",
        ).stdout
    )  # fmt: skip
    as_ann("titles", "create", "Something else")
    assert len(as_ann("titles", "ls").stdout.splitlines()) == 3
    for found in (("search", "HARBOUR"), ("search", "at", "--metadata", "camera=A"), ("ls", "--tag", "raw")):
        assert ids(as_ann("titles", *found, "--json")) == [made["id"]]
    assert as_ann("titles", "search", "nowhere").stdout == "No such titles.\n"
    assert "There are more" in as_ann("titles", "ls", "--limit", "1").stdout
    edited = as_ann(
        "titles", "edit", made["id"], "--title", "Harbour, day 2", "--metadata", "camera=B", "--without", "lens",
        "--project", "", "--json",
    )  # fmt: skip
    changed = json.loads(edited.stdout)
    assert (changed["title"], changed["metadata"], changed["project_id"]) == ("Harbour, day 2", {"camera": "B"}, None)
    assert changed["tags"] == ["raw", "night"], "what is not named stays"
    begun = ann.client.uploads.begin(BeginUpload(filename="a.mov", size=1, title_id=UUID(made["id"])), "k")
    shown = as_ann("titles", "show", made["id"]).stdout
    for text in ("Harbour, day 2", "raw, night", "camera", "B", "2026-11-21", f"{begun.asset_id}  initiated"):
        assert text in shown
    assert "give --yes" in as_ann("titles", "rm", made["id"]).stderr
    assert as_ann("titles", "rm", made["id"], "-y").returncode == exits.REFUSED, "an asset belongs to it"
    ann.client.uploads.abort(begun.upload_id)
    until(lambda: as_ann("titles", "rm", made["id"], "-y").returncode == exits.OK, 10, "the title cannot be deleted")
    for wrong in (["edit", made["id"]], ["create", "x" * 501], ["create", "x", "--metadata", "no"]):
        assert as_ann("titles", *wrong).returncode == exits.USAGE


def test_following_outlives_a_server_that_is_away_for_a_moment(ann: Person, stack: Stack) -> None:
    upload_id = begin(ann.client, "later.mov").upload_id
    command = [sys.executable, "-m", "rushes", "status", str(upload_id), "-f", *ann.options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert following.stdout.readline().startswith("initiated")
        stack.child("api").terminate()
        time.sleep(1)
        until(lambda: _aborted(ann.client, upload_id), 30, "the API is not back")
        _, said = following.communicate(timeout=60)
    assert following.returncode == exits.REFUSED
    assert "ended as deleted" in said or "ended as aborted" in said


SPANS = """WITH asset AS (
    UPDATE assets SET state = 'processing', job_id = gen_random_uuid() WHERE id = %s RETURNING *
), run AS (
    INSERT INTO jobs (id, tenant, creator, asset_id, type, state, progress, created_at)
    SELECT job_id, tenant, creator, id, 'process', 'running', 0.43, now() FROM asset RETURNING *
) INSERT INTO jobs (id, parent_id, tenant, creator, asset_id, type, number, state, progress, created_at)
SELECT gen_random_uuid(), run.id, tenant, creator, asset_id, 'encode', n,
CASE WHEN n <= 60 THEN 'running' ELSE 'queued' END, CASE WHEN n <= 60 THEN 0.5 ELSE 0 END, now()
FROM run, generate_series(1, 130) AS n RETURNING asset_id"""


def test_a_run_of_more_stages_than_a_page_holds_is_told_of(ann: Person, stack: Stack) -> None:
    begun = begin(ann.client, "long.mov")
    made = stack.rows(SPANS, begun.asset_id)
    assert len(made) == 130
    status = ann.client.uploads.status(begun.upload_id).model_copy(update={"status": OverallStatus.PROCESSING})
    jobs = under_way(ann.client, status)
    assert len(jobs) == 61
    assert process_words(status, jobs) == "processing 43%: 60 × encode 50%"
    stack.rows("UPDATE jobs SET state = 'cancelled' WHERE asset_id = %s RETURNING 1", begun.asset_id)


def _aborted(client: Client, upload_id: UUID) -> bool:
    from rushes.errors import Unavailable

    try:
        client.uploads.abort(upload_id)
    except Unavailable:
        return False
    return True
