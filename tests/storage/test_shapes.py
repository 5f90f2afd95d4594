"""What a listed key is: ours is told from all others, also where places share a bucket or lie in one another."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rushes.storage import (
    Place,
    Shape,
    asset_prefix,
    original_key,
    rendition_key,
    shape_of,
    slice_key,
    staged_key,
    widest_places,
)
from rushes.storage.keys import read_key

LAYOUTS = {
    "three buckets": ("in-bucket", "originals", "renditions"),
    "one bucket, three prefixes": ("media/in", "media/originals", "media/renditions"),
    "one place for all": ("media", "media", "media"),
    "one in the other": ("media", "media/originals", "media/originals/renditions"),
    "incoming inmost": ("media/a/b", "media/a", "media"),
}
NAMES = st.text(max_size=30).filter(bool)


@dataclass(frozen=True)
class Kept:
    incoming: Place
    originals: Place
    renditions: Place


def kept(layout: str) -> Kept:
    return Kept(*map(Place.parse, LAYOUTS[layout]))


@pytest.mark.parametrize("layout", LAYOUTS)
@given(tenant=NAMES, creator=NAMES, asset=st.uuids(), number=st.integers(1, 9_999))
@example(tenant="a", creator="b", asset=UUID(int=1), number=1)  # as places in one another are called
@example(tenant="originals", creator="renditions", asset=UUID(int=1), number=1)
def test_every_key_we_make_is_told_for_what_it_is(
    layout: str, tenant: str, creator: str, asset: UUID, number: int
) -> None:
    at = kept(layout)
    names = (tenant, creator, asset)
    made = {
        (at.originals.bucket, original_key(at.originals, *names)): Shape.ORIGINAL,
        (at.renditions.bucket, rendition_key(at.renditions, *names, epoch=number, name="720p.mp4")): (Shape.RENDITION),
        (at.incoming.bucket, staged_key(at.incoming, *names, number)): Shape.INCOMING,
        (at.incoming.bucket, slice_key(at.incoming, *names, number=number, name=uuid4())): Shape.INCOMING,
    }
    for (bucket, key), shape in made.items():
        found = shape_of(at, bucket, key)
        assert found is not None, key
        assert found.owner is not None
        assert (found.shape, found.owner.asset) == (shape, asset), key
        assert found.epoch == (number if shape is Shape.RENDITION else None)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keys_of_others_are_nobodys(layout: str) -> None:
    at = kept(layout)
    asset = uuid4()
    for place in (at.incoming, at.originals, at.renditions):
        near = asset_prefix(place, "acme", "ann", asset).removeprefix(place.prefix)
        foreign = (
            "backup.tar",
            "acme/ann/original",
            "acme/ann/not-an-id/original",
            near,
            near.upper() + "original",
            f"elsewhere/{near}original",
            f"ac me/{near.split('/', 1)[1]}original",
            f"probe-{asset}x",
            "probe-1",
            f"photos/2024/{asset}/holiday.jpg",
            f"photos/2024/{asset}/parts",
            *(
                f"{near}{rest}"
                for rest in ("parts/", "parts/0", "parts/1x", "parts/1/2", "parts/cover.jpg", "slices/1")
            ),
            *(f"{near}slices/{rest}" for rest in (f"0/{asset}", f"1/{asset}/x", "1/thumb.jpg", str(asset))),
        )
        for name in foreign:
            assert shape_of(at, place.bucket, place.prefix + name) is None, name
        assert shape_of(at, "another-bucket", f"{place.prefix}{near}original") is None
    if layout != "one place for all":
        original = asset_prefix(at.originals, "acme", "ann", asset)
        for name in ("original.bak", "3/720p.mp4", "parts/1"):
            assert shape_of(at, at.originals.bucket, original + name) is None, name


@pytest.mark.parametrize(
    ("layout", "listed"),
    [
        ("three buckets", {"originals", "renditions", "in-bucket"}),
        ("one bucket, three prefixes", {"media/originals/", "media/renditions/", "media/in/"}),
        ("one place for all", {"media"}),
        ("one in the other", {"media"}),
        ("incoming inmost", {"media"}),
    ],
)
def test_listing_meets_every_key_once(layout: str, listed: set[str]) -> None:
    at = kept(layout)
    found = {f"{place.bucket}/{place.prefix}".removesuffix("/") for place in widest_places(at)}
    assert found == {name.removesuffix("/") for name in listed}


@given(st.text(max_size=80))
def test_no_key_is_too_strange_to_be_read(key: str) -> None:
    found = read_key(Place("bucket", ""), key)
    assert found is None or key.split("/", 3)[2] == str(found.asset)
