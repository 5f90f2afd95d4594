"""Which containers and codecs a tenant takes."""

from __future__ import annotations

import pytest

from rushes.errors import Invalid, Rejected
from rushes.ingest.formats import Rules, check_formats, check_rules
from rushes.ingest.tenants import Change, changed
from rushes.media.info import AudioInfo, ImageInfo, MediaInfo, VideoInfo
from rushes.model import Tenant

VIDEO = VideoInfo(0, "prores", 1920, 1080, 1920, 1080, 0, "yuv422p10le", 10)
FILM = MediaInfo(
    "video", "mov,mp4,m4a,3gp,3g2,mj2", 1000, wrapper="mov", video=VIDEO,
    audio=(AudioInfo(1, "pcm_s24le", 2, "stereo", 48000), AudioInfo(2, "aac", 2, "stereo", 48000)),
)  # fmt: skip
PICTURE = MediaInfo("image", "tiff", 1000, image=ImageInfo(10, 10, "RGB", has_alpha=False, orientation=1))


@pytest.mark.parametrize(
    "rules",
    [
        {},
        {"container": ["mov", "mxf"], "video": ["prores"], "audio": ["pcm", "aac"]},
        {"container": ["-avi"], "video": ["-mjpeg"]},
        {"image": ["jpeg"]},
    ],
)
def test_what_is_taken(rules: Rules) -> None:
    check_formats(rules, FILM)


@pytest.mark.parametrize(
    ("rules", "info", "about", "found", "says"),
    [
        ({"container": ["mp4"]}, FILM, "container", "mov", "a mov container, .* of containers taken are: mp4"),
        ({"video": ["-prores", "-dnxhd"]}, FILM, "video", "prores", "of video codecs refused are: prores, dnxhd"),
        ({"audio": ["pcm"]}, FILM, "audio", "aac", "The audio of this file is aac"),
        ({"audio": ["-pcm"]}, FILM, "audio", "pcm_s24le", "refused are: pcm"),
        ({"audio": ["aac", "pcm_s24le", "-aac"]}, FILM, "audio", "aac", "taken are"),
        ({"image": ["jpeg", "png"]}, PICTURE, "image", "tiff", "This picture is tiff"),
        ({"container": ["-tiff"]}, PICTURE, "container", "tiff", "refused are: tiff"),
    ],
)  # fmt: skip
def test_what_is_refused(rules: Rules, info: MediaInfo, about: str, found: str, says: str) -> None:
    with pytest.raises(Rejected, match=says) as caught:
        check_formats(rules, info)
    assert caught.value.code == "format_refused"
    assert (caught.value.details["of"], caught.value.details["found"]) == (about, found)


def test_rules_are_kept_changed_and_taken_away() -> None:
    first = changed(Tenant("t"), Change(formats={"video": [" H264", "hevc", "h264"], "container": ["-avi"]}))
    assert first.formats == {"video": ["h264", "hevc"], "container": ["-avi"]}
    assert changed(first, Change(formats={"video": []})).formats == {"container": ["-avi"]}


@pytest.mark.parametrize(
    "rules", [{"codec": ["h264"]}, {"video": ["h264;"]}, {"video": ["--h264"]}, {"video": ["x"] * 1 + [""]}]
)
def test_what_is_no_rule(rules: Rules) -> None:
    with pytest.raises(Invalid) as caught:
        check_rules(rules)
    assert caught.value.code == "format_invalid"
