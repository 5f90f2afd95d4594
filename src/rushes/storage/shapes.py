"""Telling what a listed key is: buckets may be shared, and a key without our shape is never touched."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from rushes.storage.keys import OurKey, Place, epoch_of, is_incoming, is_original, is_probe, read_key


class Places(Protocol):
    """Where we keep things, as `Storage` knows it."""

    @property
    def incoming(self) -> Place: ...

    @property
    def originals(self) -> Place: ...

    @property
    def renditions(self) -> Place: ...


class Shape(StrEnum):
    """What a key of ours says that it is."""

    ORIGINAL = "original"
    RENDITION = "rendition"
    INCOMING = "incoming"  # a staged part, a slice or a piece
    PROBE = "probe"  # what a probe of the store experimented on


@dataclass(frozen=True, slots=True)
class Found:
    """A key of ours. `owner` is None for a probe's, `epoch` names the run that made a rendition."""

    shape: Shape
    owner: OurKey | None
    epoch: int | None = None

    @property
    def tenant(self) -> str:
        """As the key spells it; empty when it belongs to none."""
        return self.owner.tenant if self.owner else ""


def shape_of(storage: Places, bucket: str, key: str) -> Found | None:
    """What this key is, or None when it is not ours. Of places that overlap the inmost counts in which it is one of ours: a
    tenant of an outer place may be called as an inner place is."""
    around = {place for place in _places(storage) if place.bucket == bucket and key.startswith(place.prefix)}
    for prefix in sorted({place.prefix for place in around}, key=len, reverse=True):
        found = _found(storage, {place for place in around if place.prefix == prefix}, key)
        if found is not None:
            return found
    return None


def _found(storage: Places, places: set[Place], key: str) -> Found | None:
    """What a key is in places that are one and the same."""
    place = next(iter(places))
    if is_probe(place, key):
        return Found(Shape.PROBE, None)
    owner = read_key(place, key)
    if owner is None:
        return None
    epoch = epoch_of(owner)
    if storage.originals in places and is_original(owner):
        return Found(Shape.ORIGINAL, owner)
    if storage.renditions in places and epoch is not None:
        return Found(Shape.RENDITION, owner, epoch)
    if storage.incoming in places and is_incoming(owner):
        return Found(Shape.INCOMING, owner)
    return None


def widest_places(storage: Places) -> list[Place]:
    """Our places without those that lie in another one, so that listing them meets every key once."""
    return [place for place in dict.fromkeys(_places(storage)) if not any(_inside(place, _places(storage)))]


def _inside(place: Place, others: Iterable[Place]) -> Iterable[bool]:
    return (
        other != place and other.bucket == place.bucket and place.prefix.startswith(other.prefix) for other in others
    )


def _places(storage: Places) -> tuple[Place, ...]:
    return storage.originals, storage.renditions, storage.incoming
