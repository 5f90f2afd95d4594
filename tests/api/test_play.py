"""Links that play one asset: who gets them, what they open, when they end."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from rushes.db import assets, renditions, segments
from rushes.ingest import playback, playlist, tokens
from rushes.model import Rendition, Segments
from tests.ingest.equipment import Desk, Person, body, problem, some_bytes

INIT, LENGTHS, SECONDS = 500, (3_000, 4_000, 2_000), (4.0, 4.0, 1.5)
FILE = some_bytes(INIT + sum(LENGTHS), seed=7)
VTT = b"WEBVTT\n\n00:00.000 --> 00:02.000\nsprite.jpg#xywh=0,0,160,90\n"


async def made(desk: Desk, upload: dict[str, Any], name: str, type_: str, data: bytes, **extra: Any) -> Rendition:
    """A rendition of the asset's run, as a stage would have stored it."""
    ((job_id,),) = await desk.sql("SELECT job_id FROM assets WHERE id = %(id)s", id=upload["asset_id"])
    place = desk.ctx.storage.renditions
    row = Rendition(
        id=uuid4(),
        asset_id=UUID(upload["asset_id"]),
        job_id=job_id,
        name=name,
        type=type_,
        content_type="video/mp4",
        bucket=place.bucket,
        key=f"{place.prefix}test-play/{upload['asset_id']}/{name}",
        size=len(data),
        width=640 if type_ == "hls_video" else None,
        height=360 if type_ == "hls_video" else None,
        duration=9.5,
        checksum="",
        stage="join",
        recipe=1,
        extra=extra,
        created_at=datetime.now(UTC),
    )
    async with desk.ctx.db.transaction() as conn:
        await renditions.put(conn, row)
        if type_.startswith("hls"):
            await segments.put(conn, row.id, Segments(INIT, LENGTHS, SECONDS))
    await desk.ctx.storage.s3.client.put_object(Bucket=row.bucket, Key=row.key, Body=data)
    return row


@pytest.fixture
async def ann(desk: Desk) -> Person:
    return desk.person()


@pytest.fixture
async def film(ann: Person) -> dict[str, Any]:
    """An asset that is still processed, of which one rendition is there."""
    upload = await ann.ingest()
    facts = {"bandwidth": 900_000, "average_bandwidth": 800_000, "codecs": "avc1.64001e", "frame_rate": 25.0}
    await made(ann.desk, upload, "hls-360p.mp4", "hls_video", FILE, **facts)
    return upload


async def link(person: Person, upload: dict[str, Any], **wanted: Any) -> dict[str, Any]:
    answer = await person.http.post(f"/v1/assets/{upload['asset_id']}/play", json=wanted)
    assert answer.status_code == 200, answer.text
    return body(answer)


def anybody(desk: Desk) -> httpx.AsyncClient:
    return desk.with_token(None)


async def test_a_link_plays_without_any_header_while_the_asset_is_processed(
    desk: Desk, ann: Person, film: dict[str, Any]
) -> None:
    found = await link(ann, film)
    assert found["thumbnails_url"] is None
    answer = await anybody(desk).get(found["url"])
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/vnd.apple.mpegurl"
    assert answer.headers["Cache-Control"] == "private, no-cache"
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    assert answer.text.splitlines()[-1] == "hls-360p.m3u8"
    await made(desk, film, "hls-audio.mp4", "hls_audio", FILE, codecs="mp4a.40.2", default=True)
    assert '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound"' in (await anybody(desk).get(found["url"])).text


async def test_the_ranges_of_a_playlist_are_the_segments_in_storage(
    desk: Desk, ann: Person, film: dict[str, Any]
) -> None:
    folder = (await link(ann, film))["url"].rpartition("/")[0]
    text = (await anybody(desk).get(f"{folder}/hls-360p.m3u8")).text
    (url,) = set(re.findall(r"^(http\S+)$", text, re.MULTILINE))
    assert f'URI="{url}",BYTERANGE="{INIT}@0"' in text
    assert re.findall(r"#EXTINF:([\d.]+),", text) == [f"{seconds:.6f}" for seconds in SECONDS]
    at = INIT
    for length, start in re.findall(r"#EXT-X-BYTERANGE:(\d+)@(\d+)", text):
        assert int(start) == at
        wanted = {"Range": f"bytes={start}-{at + int(length) - 1}", "Origin": "https://app.example.com"}
        answer = await desk.web.get(url, headers=wanted)
        assert answer.status_code == 206
        assert answer.content == FILE[at : at + int(length)]
        assert answer.headers["Access-Control-Allow-Origin"] in {"*", "https://app.example.com"}
        assert {"content-range", "content-length"} <= set(
            answer.headers["Access-Control-Expose-Headers"].lower().replace(" ", "").split(",")
        )
        at += int(length)
    assert at == len(FILE)
    assert text == (await anybody(desk).get(f"{folder}/hls-360p.m3u8")).text, "the same URL, for players and caches"


async def test_head_says_what_get_would(desk: Desk, ann: Person, film: dict[str, Any]) -> None:
    url = (await link(ann, film))["url"]
    for address in (url, url.replace("master", "hls-360p")):
        asked, read = await anybody(desk).head(address), await anybody(desk).get(address)
        assert asked.status_code == read.status_code == 200
        assert asked.headers["Content-Type"] == read.headers["Content-Type"]
    assert (await anybody(desk).head(f"{url}x")).status_code == 404


@pytest.mark.parametrize("count", [4_000, 43_200])
async def test_long_playlists_travel_small(desk: Desk, ann: Person, film: dict[str, Any], count: int) -> None:
    row = await made(desk, film, "hls-720p.mp4", "hls_video", FILE)
    laid = Segments(INIT, [100_000] * count, [4.0] * count)
    async with desk.ctx.db.transaction() as conn:
        await segments.put(conn, row.id, laid, playlist.packed(laid))
    address = (await link(ann, film))["url"].replace("master", "hls-720p")
    plain = await anybody(desk).get(address, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    assert plain.text.count(f"#EXT-X-BYTERANGE:100000@{INIT + 100_000 * (count - 1)}\n") == 1
    async with anybody(desk).stream("GET", address, headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join([chunk async for chunk in answer.aiter_raw()])
        assert answer.headers["Content-Encoding"] == "gzip"
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < len(plain.content) / 10


async def test_sheets_of_tiles_are_a_track_of_links(desk: Desk, ann: Person, film: dict[str, Any]) -> None:
    await made(desk, film, "sprite.jpg", "sprite", b"a sheet")
    await made(desk, film, "sprite.vtt", "sprite_vtt", VTT)
    found = await link(ann, film)
    answer = await anybody(desk).get(found["thumbnails_url"])
    assert answer.headers["Content-Type"].startswith("text/vtt")
    url, _, place = answer.text.splitlines()[-1].partition("#")
    assert place == "xywh=0,0,160,90"
    assert (await desk.web.get(url)).content == b"a sheet"
    assert "hls-360p" in (await anybody(desk).get(found["url"])).text, "and is no variant of the film"


async def test_a_link_lives_as_long_as_was_asked_for(desk: Desk, ann: Person, film: dict[str, Any]) -> None:
    before = datetime.now(UTC)
    for wanted, seconds in (({"seconds": 60}, 60), ({}, min(43_200, desk.settings.link_seconds))):
        ends = datetime.fromisoformat((await link(ann, film, **wanted))["expires_at"])
        assert timedelta(seconds=seconds - 2) <= ends - before <= timedelta(seconds=seconds + 120)
    for refused in (59, 43_201, -1):
        answer = await ann.http.post(f"/v1/assets/{film['asset_id']}/play", json={"seconds": refused})
        problem(answer, 422, "request_invalid")
    asset = UUID(film["asset_id"])
    async with desk.ctx.db.transaction() as conn:
        row = await assets.get(conn, ann.who, asset)
    assert row is not None
    old = playback.mint(desk.ctx, row, before - timedelta(hours=2), timedelta(hours=1))
    problem(await anybody(desk).get(f"/v1/play/{old}/{asset}/master.m3u8"), 401, "play_token_expired")


async def test_a_token_opens_one_asset_and_no_other_door(desk: Desk, ann: Person, film: dict[str, Any]) -> None:
    found, other = await link(ann, film), await ann.ingest()
    await made(desk, other, "hls-360p.mp4", "hls_video", FILE)
    path = f"/v1/play/{found['token']}/{other['asset_id']}"
    for name in ("master.m3u8", "hls-360p.m3u8", "sprite.vtt"):
        problem(await anybody(desk).get(f"{path}/{name}"), 401, "play_token_invalid")
    problem(await desk.with_token(found["token"]).get(f"/v1/assets/{film['asset_id']}"), 401, "token_invalid")
    bearer = tokens.mint_for(desk.settings, ann.who, timedelta(hours=1), datetime.now(UTC))
    for token in (bearer, "nonsense", f"{found['token'][:-3]}abc"):
        answer = await anybody(desk).get(f"/v1/play/{token}/{film['asset_id']}/master.m3u8")
        problem(answer, 401, "play_token_invalid")


async def test_those_who_may_not_read_it_get_no_link(desk: Desk, ann: Person, film: dict[str, Any]) -> None:
    for who in (replace(ann.who, creator="bob"), replace(ann.who, tenant="elsewhere")):
        answer = await desk.person(who).http.post(f"/v1/assets/{film['asset_id']}/play", json={})
        problem(answer, 404, "asset_not_found")


async def test_what_cannot_be_played_is_told(desk: Desk, ann: Person) -> None:
    upload = await ann.ingest()
    answer = await ann.http.post(f"/v1/assets/{upload['asset_id']}/play", json={})
    problem(answer, 409, "asset_not_playable")
    await made(desk, upload, "hls-360p.mp4", "hls_video", FILE)
    folder = (await link(ann, upload))["url"].rpartition("/")[0]
    problem(await anybody(desk).get(f"{folder}/hls-1080p.m3u8"), 404, "playlist_not_found")
    problem(await anybody(desk).get(f"{folder}/sprite.vtt"), 404, "playlist_not_found")
    problem(await anybody(desk).get(f"{folder}/..%2f.m3u8"), 404, "not_found")


@pytest.mark.parametrize("state", ["quarantined", "deleted"])
async def test_a_link_ends_with_its_asset(desk: Desk, ann: Person, film: dict[str, Any], state: str) -> None:
    url = (await link(ann, film))["url"]
    await desk.sql("UPDATE assets SET state = %(state)s WHERE id = %(id)s", state=state, id=film["asset_id"])
    for address in (url, url.replace("master", "hls-360p")):
        problem(await anybody(desk).get(address), 404, "asset_not_found")
    answer = await ann.http.post(f"/v1/assets/{film['asset_id']}/play", json={})
    assert answer.json()["code"] in {"asset_not_playable", "asset_not_found"}
