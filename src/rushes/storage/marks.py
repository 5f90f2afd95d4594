"""The mark that says whose a place is: one small object beside the keys of assets, which holds an installation's id."""

from __future__ import annotations

from typing import Final

from rushes.errors import NotFound
from rushes.storage.keys import Place
from rushes.storage.s3 import S3

NAME: Final = "rushes-installation"
LONGEST: Final = 100  # bytes read of it: an id has 36


async def read_mark(s3: S3, place: Place) -> str | None:
    """What the mark says, or None where there is none."""
    try:
        text = b"".join([chunk async for chunk in s3.get_range(place.bucket, _key(place), length=LONGEST)])
    except NotFound:
        return None
    return text.decode("ascii", "replace").strip()


async def write_mark(s3: S3, place: Place, installation: str) -> None:
    body = f"{installation}\n".encode()
    await s3.put_object(place.bucket, _key(place), body, size=len(body), content_type="text/plain")


def _key(place: Place) -> str:
    return f"{place.prefix}{NAME}"
