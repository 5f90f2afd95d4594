"""A command that is given again with other options, another token, or for many files alike."""

from __future__ import annotations

import json
import random
from pathlib import Path
from uuid import uuid4

import pytest

from rushes.cli import exits
from tests.cli.conftest import Person, Rushes
from tests.cli.test_upload import PART, uploading
from tests.client.equipment import Fault, Site, asset_json

NOTHING = "Nothing is pending.\n"


def refusal(code: str) -> Fault:
    return Fault("begin", 422, code)


def test_what_was_refused_is_asked_for_as_it_is_wished_now(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], clip: Path
) -> None:
    site.faults = [refusal("checksum_invalid")]
    done = rushes_here("upload", clip, *at, "--title", "Wrong", "--checksum", f"sha256:{'0' * 64}")
    assert done.returncode == exits.USAGE
    assert "Trying again" not in done.stdout, "a refusal is nothing that is waited out"
    assert rushes_here("upload", clip, *at, "--title", "Right").returncode == exits.OK
    begin = site.only().begin
    assert begin is not None
    assert begin.title is not None
    assert (begin.title.title, begin.checksum) == ("Right", [])


def test_what_was_refused_needs_no_server_to_be_cancelled(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], clip: Path
) -> None:
    site.faults = [refusal("checksum_invalid")]
    rushes_here("upload", clip, *at)
    done = rushes_here("cancel", clip, "--server", "http://127.0.0.1:9", "--token", "another")
    assert (done.returncode, done.stdout) == (exits.OK, f"Cancelled: {clip}\n")
    assert rushes_here("pending").stdout == NOTHING


@pytest.mark.parametrize("anew", [True, False])
def test_options_of_an_upload_that_was_begun_count_again_anew(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], tmp_path: Path, environment: dict[str, str], anew: bool
) -> None:
    film = tmp_path / "film.mov"
    film.write_bytes(random.Random(9).randbytes(3 * PART))
    with uploading(site, environment, at, film, "--title", "Wrong") as (process, _):
        process.kill()
    done = rushes_here("upload", film, *at, "--title", "Right", *(["--anew"] if anew else []))
    assert done.returncode == exits.OK, done.stderr
    title = next(reversed(site.uploads.values())).begin.title  # type: ignore[union-attr]
    assert title is not None
    assert title.title == ("Right" if anew else "Wrong")
    assert ("not with another title: --anew begins with that" in done.stdout) is not anew


def test_an_upload_that_failed_over_there_begins_as_it_is_wished_now(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], tmp_path: Path, environment: dict[str, str]
) -> None:
    film = tmp_path / "film.mov"
    film.write_bytes(random.Random(9).randbytes(3 * PART))
    with uploading(site, environment, at, film, "--checksum", f"md5:{'0' * 32}") as (process, _):
        process.kill()
    site.only().state = "failed"
    assert rushes_here("upload", film, *at).returncode == exits.OK
    begin = next(reversed(site.uploads.values())).begin
    assert begin is not None
    assert begin.checksum == []


def test_what_many_files_share_is_said_once(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], tmp_path: Path
) -> None:
    trip = tmp_path / "trip"
    trip.mkdir()
    for number in range(30):
        (trip / f"{number:02}.mov").write_bytes(b"%d" % number)
    site.faults = [refusal("checksum_invalid")] * 25
    done = rushes_here("upload", trip, *at)
    assert done.stdout.count(f"  {trip}/") == 20
    assert "  and 5 files more: " in done.stdout
    site.faults = [refusal("checksum_invalid")]
    assert rushes_here("upload", trip, *at).returncode == exits.USAGE
    done = rushes_here("upload", trip, *at)
    assert done.returncode == exits.OK
    assert done.stdout.endswith("29 files uploaded before: 49 B; --anew uploads them again.\n")
    assert done.stdout.count("uploaded before") == 1


def test_files_of_types_that_are_not_taken_are_told_once_and_not_kept(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], tmp_path: Path
) -> None:
    card = tmp_path / "card"
    card.mkdir()
    for number in range(9):
        (card / f"{number}.xml").write_bytes(b"%d" % number)
    site.faults = [refusal("type_not_allowed") for _ in range(7)]
    done = rushes_here("upload", card, *at)
    assert done.returncode == exits.REFUSED
    told = "7 files of types that the server does not take, not uploaded and not kept: "
    (line,) = [line for line in done.stdout.splitlines() if line.startswith(told)]
    assert line.endswith("and 2 more. made to fail")
    assert "2 files uploaded and verified" in done.stdout
    assert "rushes pending" not in done.stdout
    assert "failed:" not in done.stdout
    assert rushes_here("pending").stdout == NOTHING
    site.faults = [refusal("type_not_allowed")]
    alone = rushes_here("upload", card / "0.xml", *at, "--anew", "--json")
    assert (alone.returncode, json.loads(alone.stdout)["error"]["code"]) == (exits.REFUSED, "type_not_allowed")


def test_a_file_that_was_uploaded_before_is_left_alone(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], clip: Path
) -> None:
    assert rushes_here("upload", clip, *at).returncode == exits.OK
    asset_id = site.only().asset_id
    done = rushes_here("upload", clip, *at)
    assert (done.returncode, done.stderr) == (exits.OK, "")
    assert f"It was uploaded before (asset {asset_id}); --anew uploads it again." in done.stdout
    site.asset_statuses = [{"status": "processing"}, {"status": "published"}]
    site.assets[asset_id] = asset_json(site.only(), "published")
    told = json.loads(rushes_here("upload", clip, *at, "--follow", "--json").stdout)
    assert (told["state"], told["sent"], told["asset"]["id"]) == ("done", 0, str(asset_id))
    assert (rushes_here("pending").stdout, rushes_here("resume", *at).stdout) == (NOTHING, NOTHING)
    assert len(site.uploads) == 1
    assert rushes_here("upload", clip, *at, "--anew").returncode == exits.OK
    assert len(site.uploads) == 2


def test_what_was_deleted_meanwhile_is_uploaded_again(rushes_here: Rushes, ann: Person, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mov"
    clip.write_bytes(b"x")
    assert rushes_here("upload", clip, *ann.options).returncode == exits.OK
    (before,) = ann.client.assets.all()
    assert rushes_here("rm", before.id, "--yes", *ann.options).returncode == exits.OK
    done = rushes_here("upload", clip, *ann.options)
    assert done.returncode == exits.OK, done.stderr
    assert f"(asset {before.id}), which is not there any more" in done.stdout
    (after,) = ann.client.assets.all()
    assert after.id != before.id


def test_a_file_joins_a_title_that_is_there(rushes_here: Rushes, ann: Person, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mov"
    clip.write_bytes(b"x")
    made = rushes_here("titles", "create", "Night market", *ann.options)
    assert made.returncode == exits.OK
    (title,) = ann.client.titles.page(q="market").items
    done = rushes_here("upload", clip, *ann.options, "--title-id", title.id)
    assert done.returncode == exits.OK, done.stderr
    (asset,) = ann.client.assets.all(title_id=title.id)
    assert asset.filename == "clip.mov"
    both = rushes_here("upload", clip, *ann.options, "--title-id", title.id, "--tag", "x")
    assert both.returncode == exits.USAGE
    assert "rushes titles edit" in both.stderr
    assert rushes_here("upload", clip, *ann.options, "--anew", "--title-id", uuid4()).returncode == exits.REFUSED
