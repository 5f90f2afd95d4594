"""Places and keys: nothing a tenant calls itself can escape its segment or meet another's."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.errors import Invalid, Misconfigured
from rushes.storage import (
    Place,
    asset_prefix,
    original_key,
    rendition_key,
    rendition_prefix,
    staged_key,
    staged_prefix,
)

ASSET = UUID("0190f000-0000-7000-8000-000000000001")
PLACE = Place("bucket", "some/prefix/")
names = st.text() | st.sampled_from(
    ["", ".", "..", "/", "a/b", "~", "~abc", "A" * 100, "A" * 101, "é", "a\0b", "\ud800"]
)


def test_keys_are_made_of_ids() -> None:
    assert original_key(PLACE, "acme", "u-1", ASSET) == f"some/prefix/acme/u-1/{ASSET}/original"
    assert rendition_key(PLACE, "acme", "u-1", ASSET, epoch=3, name="720p.mp4") == (
        f"some/prefix/acme/u-1/{ASSET}/3/720p.mp4"
    )
    assert rendition_prefix(PLACE, "acme", "u-1", ASSET, epoch=3) == f"some/prefix/acme/u-1/{ASSET}/3/"
    assert staged_key(PLACE, "acme", "u-1", ASSET, 7) == f"{staged_prefix(PLACE, 'acme', 'u-1', ASSET)}7"
    assert staged_prefix(PLACE, "acme", "u-1", ASSET) == f"some/prefix/acme/u-1/{ASSET}/parts/"
    assert asset_prefix(Place("bucket", ""), "acme", "u-1", ASSET) == f"acme/u-1/{ASSET}/"


@given(tenant=names, creator=names)
def test_any_text_becomes_one_safe_segment(tenant: str, creator: str) -> None:
    segments = original_key(Place("bucket", ""), tenant, creator, ASSET).split("/")
    assert len(segments) == 4
    for segment in segments:
        assert segment.isascii()
        assert 0 < len(segment) < 255
        assert segment not in {".", ".."}


@given(one=names, other=names)
def test_different_tenants_never_share_a_segment(one: str, other: str) -> None:
    same = asset_prefix(PLACE, one, "c", ASSET) == asset_prefix(PLACE, other, "c", ASSET)
    assert same == (one == other)


def test_safe_ids_stay_readable_and_others_cannot_imitate_a_hash() -> None:
    assert "/A.b_c-1/" in asset_prefix(PLACE, "A.b_c-1", "c", ASSET)
    hashed = asset_prefix(Place("bucket", ""), "not safe", "c", ASSET).split("/")[0]
    assert hashed.startswith("~")
    assert asset_prefix(Place("bucket", ""), hashed, "c", ASSET).split("/")[0] != hashed


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "~a", "a b", "é", "a\n", "a" * 101])
def test_a_rendition_has_a_plain_name(name: str) -> None:
    with pytest.raises(Invalid):
        rendition_key(PLACE, "t", "c", ASSET, epoch=1, name=name)


def test_an_epoch_is_a_count() -> None:
    with pytest.raises(Invalid):
        rendition_prefix(PLACE, "t", "c", ASSET, epoch=-1)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("bucket", Place("bucket", "")),
        ("bucket/", Place("bucket", "")),
        ("my.bucket/a/b", Place("my.bucket", "a/b/")),
        ("bucket/a/", Place("bucket", "a/")),
    ],
)
def test_places_are_read(text: str, place: Place) -> None:
    assert Place.parse(text) == place


@pytest.mark.parametrize(
    "text", ["", "/", "b", "bucket//a", "bucket/..", "bucket/a b", "-bucket", "bu cket", "bucket/~a"]
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(Misconfigured):
        Place.parse(text)
