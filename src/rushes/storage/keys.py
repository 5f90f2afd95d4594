"""Where objects lie: places (a bucket and a prefix) and the keys in them, made of ids only.

    {tenant}/{creator}/{asset}/original            what was uploaded
    {tenant}/{creator}/{asset}/{epoch}/{name}      what run number `epoch` of the processing made of it
    {tenant}/{creator}/{asset}/parts/{number}      a part of a staged upload, in the incoming place until it is settled
    {tenant}/{creator}/{asset}/pieces/{epoch}/{name}   a span of a rendition, in the incoming place until it is joined
    {tenant}/{creator}/{asset}/slices/{part}/{id}  bytes of a part that is not whole yet, in the incoming place

Tenant and creator come from tokens of foreign issuers and may be any text. One that is safe as it stands is used as it
is; any other becomes ``~`` and the base32 of its SHA-256: ``~`` begins no safe id, so the two kinds never meet.
"""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from rushes.errors import Invalid, Misconfigured

_SAFE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_RENDITION: Final = re.compile(rf"([0-9]{{1,18}})/{_SAFE.pattern}")
_UUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_INCOMING: Final = re.compile(
    rf"parts/[1-9][0-9]{{0,9}}|slices/[1-9][0-9]{{0,9}}/{_UUID}|pieces/[0-9]{{1,18}}/{_SAFE.pattern}"
)
_PROBE: Final = re.compile(rf"probe-{_UUID}(/.*)?")
_BUCKET: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class Place:
    """A bucket and a key prefix in it; the prefix is empty or ends with a slash."""

    bucket: str
    prefix: str

    @classmethod
    def parse(cls, text: str) -> Place:
        """Read "bucket" or "bucket/prefix/of/keys".

        Raises:
            Misconfigured: the bucket or a segment of the prefix is not a plain name.
        """
        bucket, _, rest = text.strip("/").partition("/")
        segments = rest.split("/") if rest else []
        if not _BUCKET.fullmatch(bucket) or not all(_SAFE.fullmatch(segment) for segment in segments):
            raise Misconfigured(
                "storage_place_invalid", f"{text!r} is neither a bucket nor a bucket/prefix of plain names."
            )
        return cls(bucket, "".join(f"{segment}/" for segment in segments))


def asset_prefix(place: Place, tenant: str, creator: str, asset: UUID) -> str:
    """What all keys of an asset in this place begin with; ends with a slash."""
    return f"{place.prefix}{_segment(tenant)}/{_segment(creator)}/{asset}/"


def original_key(place: Place, tenant: str, creator: str, asset: UUID) -> str:
    """The key of the uploaded file."""
    return f"{asset_prefix(place, tenant, creator, asset)}original"


def staged_prefix(place: Place, tenant: str, creator: str, asset: UUID) -> str:
    """What the keys of an asset's staged parts begin with; the part's number, in plain digits, ends them."""
    return f"{asset_prefix(place, tenant, creator, asset)}parts/"


def staged_key(place: Place, tenant: str, creator: str, asset: UUID, number: int) -> str:
    """The key of one staged part, from 1."""
    return f"{staged_prefix(place, tenant, creator, asset)}{number}"


def slice_key(place: Place, tenant: str, creator: str, asset: UUID, *, number: int, name: UUID) -> str:
    """The key of one slice of part `number`; `name` is the slice's own, since one may be sent twice at once."""
    return f"{asset_prefix(place, tenant, creator, asset)}slices/{number}/{name}"


def pieces_prefix(place: Place, tenant: str, creator: str, asset: UUID) -> str:
    """What the keys of an asset's pieces begin with; the epoch of the run that made them follows."""
    return f"{asset_prefix(place, tenant, creator, asset)}pieces/"


def piece_key(place: Place, tenant: str, creator: str, asset: UUID, *, epoch: int, name: str) -> str:
    """The key of one piece. Raises `Invalid` as `rendition_key` does."""
    if not _SAFE.fullmatch(name):
        raise Invalid("rendition_name_invalid", f"{name[:100]!r} cannot name a piece.")
    return f"{pieces_prefix(place, tenant, creator, asset)}{epoch}/{name}"


def rendition_prefix(place: Place, tenant: str, creator: str, asset: UUID, *, epoch: int) -> str:
    """What all keys of one run of the processing begin with; ends with a slash."""
    if epoch < 0:
        raise Invalid("epoch_invalid", "An epoch is a count.", epoch=epoch)
    return f"{asset_prefix(place, tenant, creator, asset)}{epoch}/"


def rendition_key(place: Place, tenant: str, creator: str, asset: UUID, *, epoch: int, name: str) -> str:
    """The key of one rendition, such as ``720p.mp4``.

    Raises:
        Invalid: the name is not one plain segment of at most 100 characters.
    """
    if not _SAFE.fullmatch(name):
        raise Invalid("rendition_name_invalid", f"{name[:100]!r} cannot name a rendition.")
    return f"{rendition_prefix(place, tenant, creator, asset, epoch=epoch)}{name}"


@dataclass(frozen=True, slots=True)
class OurKey:
    """A key of our shape, taken apart. `tenant` is as the key spells it."""

    tenant: str
    asset: UUID
    rest: str


def read_key(place: Place, key: str) -> OurKey | None:
    """The parts of `{prefix}{tenant}/{creator}/{asset}/{rest}`, or None for a key that cannot be ours."""
    segments = key.removeprefix(place.prefix).split("/", 3)
    if not key.startswith(place.prefix) or len(segments) < 4 or not all(map(_is_segment, segments[:2])):
        return None
    try:
        asset = UUID(segments[2])
    except ValueError:
        return None
    return OurKey(segments[0], asset, segments[3]) if str(asset) == segments[2] and segments[3] else None


def is_original(key: OurKey) -> bool:
    return key.rest == "original"


def is_incoming(key: OurKey) -> bool:
    """Whether the key is a staged part's, a slice's or a piece's, exactly as we make them."""
    return _INCOMING.fullmatch(key.rest) is not None


def epoch_of(key: OurKey) -> int | None:
    """The run that a rendition's key names, or None for a key that is no rendition's."""
    found = _RENDITION.fullmatch(key.rest)
    return int(found[1]) if found else None


def is_probe(place: Place, key: str) -> bool:
    """Whether a probe of the store experimented on this key."""
    return key.startswith(place.prefix) and _PROBE.fullmatch(key.removeprefix(place.prefix)) is not None


def _is_segment(text: str) -> bool:
    return _SAFE.fullmatch(text.removeprefix("~")) is not None


def _segment(text: str) -> str:
    if _SAFE.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return "~" + base64.b32encode(digest).decode().rstrip("=").lower()
