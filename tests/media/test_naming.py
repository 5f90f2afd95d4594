"""Rates, aspects, levels, moments and places as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from rushes.media.inside import naming, tags


@pytest.mark.parametrize(
    ("average", "base", "vfr", "found"),
    [
        ("25", "25", False, "25"),
        ("19001/317", "19001/317", False, "60000/1001"),  # what Matroska's milliseconds make of it
        ("2997/100", "30000/1001", False, "30000/1001"),
        ("25", "50", False, "25"),  # fields
        ("359/12", "30", False, "30"),  # the last frame lasted longer
        ("1711/100", "90000", True, "1711/100"),
        ("17", "17", False, "17"),
    ],
)
def test_exact_rates(average: str, base: str, vfr: bool, found: str) -> None:
    assert naming.exact(Fraction(average), Fraction(base), vfr=vfr) == Fraction(found)


def test_aspects() -> None:
    assert naming.aspect(Fraction(1920, 1080)) == "16:9"
    assert naming.aspect(Fraction(720, 576) * Fraction(64, 45)) == "16:9"
    assert naming.aspect(Fraction(854, 480)) == "16:9"
    assert naming.aspect(Fraction(2048, 858)) == "74:31"


@pytest.mark.parametrize(
    ("codec", "number", "name"),
    [
        ("h264", 41, "4.1"), ("h264", 9, "1b"), ("hevc", 153, "5.1"), ("hevc", 63, "2.1"), ("av1", 0, "2.0"),
        ("av1", 13, "5.1"), ("vp9", 31, "3.1"), ("mpeg2video", 8, "Main"),
        ("mpeg2video", 2, "High"), ("prores", -99, None), ("h264", 0, None),
    ],
)  # fmt: skip
def test_levels(codec: str, number: int, name: str | None) -> None:
    assert naming.level(codec, number) == name


@pytest.mark.parametrize(
    ("told", "zone", "moment"),
    [
        ("2024-05-01T10:20:30.000000Z", "", "2024-05-01T10:20:30Z"),
        ("2024-05-01T12:20:30+0200", "", "2024-05-01T12:20:30+02:00"),
        ("2024:05:01 12:20:30", "+02:00", "2024-05-01T12:20:30+02:00"),
        ("2024:05:01 12:20:30", "", "2024-05-01T12:20:30"),
        ("2024-05-01", "+02:00", "2024-05-01"),
        ("1999", "", "1999"),
        ("1904-01-01T00:00:00Z", "", None),
        ("2024:13:01 12:20:30", "", None),
        ("yesterday", "", None),
    ],
)
def test_moments(told: str, zone: str, moment: str | None) -> None:
    assert tags.stamp(told, zone) == moment


def test_places() -> None:
    assert tags.place("+48.8577+002.2950+035.5/") == {"latitude": 48.8577, "longitude": 2.295, "altitude": 35.5}
    assert tags.place("-33.85+151.21/") == {"latitude": -33.85, "longitude": 151.21, "altitude": None}
    assert tags.place("+148+002/") is None
    assert tags.place("Paris") is None


def test_text_is_cleaned_and_bounded() -> None:
    told = tags.cleaned({f"k{n}": "a\0\x1b[31mb\u202e" + "x" * 5000 for n in range(500)})
    assert len(told) == tags.MOST
    assert {value[:6] for value in told.values()} == {"a[31mb"}
    assert {len(value) for value in told.values()} == {tags.LONGEST}


def test_an_apple_phone_tells_where_and_when() -> None:
    found = tags.found(
        {
            "com.apple.quicktime.creationdate": "2024-05-01T12:20:30+0200",
            "creation_time": "2024-05-01T10:20:31.000000Z",
            "com.apple.quicktime.make": "Apple",
            "com.apple.quicktime.location.ISO6709": "+48.8577+002.2950+035/",
        },
        {"reel_name": "A001"},
    )
    assert found["created"] == "2024-05-01T12:20:30+02:00"
    assert found["place"]["latitude"] == 48.8577
    assert (found["camera"]["make"], found["camera"]["reel"]) == ("Apple", "A001")
