"""Playlists, as players read them."""

from __future__ import annotations

import gzip
import random
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from rushes.ingest import playlist
from rushes.ingest.playback import Pass, span
from rushes.model import Principal, Rendition, Segments

URL = "https://storage.example.com/media/a/b/c/1/hls-720p.mp4?X-Amz-Signature=0123"
START = datetime(2026, 11, 22, 5, 7, 13, tzinfo=UTC)


def rendition(name: str, type_: str = "hls_video", **extra: Any) -> Rendition:
    size = {"width": 1280, "height": 720} if type_ == "hls_video" else {"width": None, "height": None}
    return Rendition(
        id=uuid4(),
        asset_id=UUID(int=1),
        job_id=UUID(int=2),
        name=name,
        type=type_,
        content_type="video/mp4",
        bucket="media",
        key=f"a/b/c/1/{name}",
        size=1_000_000,
        duration=8.0,
        checksum="",
        stage="join",
        recipe=1,
        extra=extra,
        created_at=START,
        **size,
    )


def video(rung: str, bits: int, codecs: str = "avc1.64001f", **extra: Any) -> Rendition:
    name = f"hls-{'' if codecs.startswith('avc1') else 'vp9-'}{rung}.mp4"
    about: dict[str, Any] = {
        "codecs": codecs,
        "bandwidth": bits,
        "average_bandwidth": bits // 2,
        "frame_rate": 30000 / 1001,
    }
    return rendition(name, **about, range="SDR", **extra)


def sound(name: str = "hls-audio.mp4", **extra: Any) -> Rendition:
    about = {"codecs": "mp4a.40.2", "channels": 2, "bandwidth": 130_000, "average_bandwidth": 128_000, "default": True}
    return rendition(name, "hls_audio", **about | extra)


def variants(text: str) -> list[tuple[str, str]]:
    return re.findall(r"#EXT-X-STREAM-INF:(.*)\n(.*)", text)


def test_a_master_playlist_tells_all_that_a_player_chooses_by() -> None:
    text = playlist.master([video("720p", 3_000_000), sound(language="eng")])
    assert text == (
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n"
        '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="sound",NAME="eng",LANGUAGE="eng",DEFAULT=YES,AUTOSELECT=YES,CHANNELS="2",'
        'URI="hls-audio.m3u8"\n'
        '#EXT-X-STREAM-INF:BANDWIDTH=3130000,AVERAGE-BANDWIDTH=1628000,CODECS="avc1.64001f,mp4a.40.2",'
        'RESOLUTION=1280x720,FRAME-RATE=29.970,VIDEO-RANGE=SDR,AUDIO="sound"\nhls-720p.m3u8\n'
    )


def test_players_begin_with_a_modest_picture_of_the_codec_that_all_know() -> None:
    rows = [
        video("360p", 500_000, "vp09.00.30.08"),
        video("1080p", 6_000_000),
        video("360p", 900_000),
        video("720p", 2_000_000),
    ]
    names = [name for _, name in variants(playlist.master(rows))]
    assert names == ["hls-720p.m3u8", "hls-360p.m3u8", "hls-1080p.m3u8", "hls-vp9-360p.m3u8"]
    assert [name for _, name in variants(playlist.master(rows[:1]))] == ["hls-vp9-360p.m3u8"]


def test_a_silent_film_has_no_sound_group_and_sound_alone_no_picture() -> None:
    silent = playlist.master([video("720p", 2_000_000)])
    assert "AUDIO" not in silent
    assert 'CODECS="avc1.64001f"' in silent
    ((line, name),) = variants(playlist.master([sound()]))
    assert (name, "RESOLUTION" in line, "AUDIO=" in line) == ("hls-audio.m3u8", False, False)
    assert 'CODECS="mp4a.40.2"' in line


def test_tracks_have_names_of_their_own_and_text_from_files_stays_in_its_quotes() -> None:
    tracks = [
        sound(language="eng"),
        sound("hls-audio-2.mp4", language="eng", default=False),
        sound("hls-audio-3.mp4", language='x",URI="http://evil/\n#EXT', default=False),
    ]
    text = playlist.master([video("720p", 2_000_000), *tracks])
    lines = [line for line in text.splitlines() if line.startswith("#EXT-X-MEDIA:")]
    assert len({re.search(r'NAME="([^"]*)"', line)[1] for line in lines}) == len(lines) == 3  # type: ignore[index]
    assert sum("DEFAULT=YES" in line for line in lines) == 1
    assert all(line.count('URI="') == 1 for line in lines)
    assert len(text.splitlines()) == 3 + 3 + 2


def test_a_rendition_that_tells_little_is_described_by_its_size() -> None:
    ((line, _),) = variants(playlist.master([rendition("hls-360p.mp4")]))
    assert line == "BANDWIDTH=1000000,AVERAGE-BANDWIDTH=1000000,RESOLUTION=1280x720,VIDEO-RANGE=SDR"


def test_a_media_playlist_cuts_its_file_into_ranges_without_a_gap() -> None:
    text = playlist.media(Segments(800, (1000, 2000, 300), (4.004, 4.004, 0.5)), URL)
    assert text == (
        "#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:0\n"
        f'#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-MAP:URI="{URL}",BYTERANGE="800@0"\n'
        f"#EXTINF:4.004000,\n#EXT-X-BYTERANGE:1000@800\n{URL}\n"
        f"#EXTINF:4.004000,\n#EXT-X-BYTERANGE:2000@1800\n{URL}\n"
        f"#EXTINF:0.500000,\n#EXT-X-BYTERANGE:300@3800\n{URL}\n#EXT-X-ENDLIST\n"
    )


@pytest.mark.parametrize(("longest", "target"), [(4.5, 5), (4.49, 4), (0.2, 1), (6.0, 6)])
def test_no_segment_is_longer_than_the_target_once_rounded(longest: float, target: int) -> None:
    text = playlist.media(Segments(1, (1, 1), (longest, 0.1)), URL)
    assert f"#EXT-X-TARGETDURATION:{target}\n" in text


def test_two_days_are_a_playlist_of_a_few_megabytes() -> None:
    """Packed once, read by anybody with a URL of their own, with gzip or without."""
    count, chance = 43_200, random.Random(7)
    laid = Segments(
        800, [chance.randrange(10**7) for _ in range(count)], [chance.choice((4.0, 3.96)) for _ in range(count)]
    )
    packed = playlist.packed(laid)
    assert packed is not None
    for url in (URL, URL * 5):
        long = playlist.Long(packed, url)
        assert gzip.decompress(long.gzipped()) == long.text()
        assert len(long.gzipped()) < 700_000
        text = long.text().decode()
        assert len(text) < 3_500_000
        assert text.count("#EXTINF:") == text.count("\n{$file}\n") == count
        assert text.count("https://") == url.count("https://")  # said once
        assert text.startswith("#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-DEFINE:")
        assert text.replace(f'#EXT-X-DEFINE:NAME="file",VALUE="{url}"\n', "").replace("{$file}", url).replace(
            "VERSION:8", "VERSION:7"
        ) == playlist.media(laid, url)


def test_short_playlists_do_without_variables() -> None:
    count = playlist.MANY_SEGMENTS
    assert playlist.packed(Segments(800, [1] * count, [4.0] * count)) is None
    assert playlist.packed(Segments(800, [1] * (count + 1), [4.0] * (count + 1))) is not None


def test_sheets_of_tiles_are_linked_and_nothing_else_is() -> None:
    vtt = (
        "WEBVTT\n\n00:00.000 --> 00:02.000\nsprite.jpg#xywh=0,0,160,90\n\n00:02.000 --> 00:04.000\nother#xywh=0,0,1,1\n"
    )
    linked = playlist.sheets(vtt, {"sprite.jpg": URL})
    assert linked == vtt.replace("sprite.jpg", URL)


def test_urls_are_the_same_for_a_while_and_end_with_the_token() -> None:
    opened = Pass(UUID(int=1), Principal("t", "c"), START, START + timedelta(hours=12))
    spans = {span(opened, START + timedelta(minutes=minutes)) for minutes in range(0, 52, 5)}
    assert len(spans) == 1
    ((start, end),) = spans
    assert start <= START
    assert timedelta() <= end - opened.expires_at < timedelta(hours=1)
    late = span(opened, opened.expires_at + timedelta(seconds=20))
    assert late[0] < late[1]
