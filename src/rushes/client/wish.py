"""What is wished for a file, as a request that has no size yet: the file is looked at when its turn comes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from pydantic import ValidationError

from rushes.client.digest import split
from rushes.errors import Invalid
from rushes.kinds import content_type as content_type_of
from rushes.model import ChecksumAlgorithm, Layout
from rushes.wire import BeginUpload, NewTitle


@dataclass(frozen=True, slots=True)
class Wish:
    path: Path
    request: BeginUpload
    declare: tuple[str, ...] = ()  # checksums of the whole file to compute and declare
    size: int = 0  # bytes, as far as is known before its turn


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is wished for each of several files alike. `checksum` has values to declare (`sha256:…`) and, as a bare
    `sha256`, `md5` or `xxh128`, those to compute."""

    title: NewTitle | str | None = None
    title_id: UUID | None = None
    content_type: str | None = None
    part_size: int | None = None  # bytes
    layout: Layout = Layout.MULTIPART
    checksum_algorithm: ChecksumAlgorithm | None = None  # of parts
    checksum: Sequence[str] = ()
    priority: int = 0
    source: str | None = None
    region: str | None = None

    def of(self, path: Path, relative_path: str | None = None, size: int = 0) -> Wish:
        """Raises `Invalid` (wish_invalid, checksum_invalid) for what no server would take."""
        declare, known = split(self.checksum)
        told = {
            "filename": plain(path.name, 1_000),
            "content_type": self.content_type or content_type_of(path.name),
            "title": NewTitle(title=self.title) if isinstance(self.title, str) else self.title,
            "title_id": self.title_id,
            "part_size": self.part_size,
            "layout": self.layout,
            "checksum_algorithm": None if self.checksum_algorithm is None else self.checksum_algorithm.value,
            "checksum": list(known),
            "priority": self.priority,
            "source": None if self.source is None else plain(self.source, 500),
            "relative_path": None if relative_path is None else plain(relative_path, 4_000),
            "region": self.region,
        }
        try:
            request = BeginUpload.model_validate({name: value for name, value in told.items() if value is not None})
        except ValidationError as error:
            first = error.errors()[0]
            raise Invalid("wish_invalid", f"{first['loc'][0]} cannot be used: {first['msg']}.") from error
        return Wish(path, request, declare, size)


def plain(name: str, most: int) -> str:
    """A file's name as a message may carry it: valid Unicode in one line, the end of it where it is too long.

    File systems allow any bytes but NUL; the name is for people: a mark stands for what cannot be shown.
    """
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(char if ord(char) >= 32 and ord(char) != 127 else "\ufffd" for char in text)[-most:]
