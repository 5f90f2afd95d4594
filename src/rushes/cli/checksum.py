"""`rushes checksum`: the part plan of a file and its checksums, for people who upload by hand."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from rushes.checksum import combine, crc64nvme, encode
from rushes.cli.options import Json
from rushes.client.source import BLOCK, LocalFile
from rushes.errors import Invalid
from rushes.plan import MAX_PART, MAX_PARTS, PartPlan, plan_parts


def checksum(
    path: Annotated[Path, typer.Argument(metavar="FILE", readable=False, help="What to read.", show_default=False)],
    parts: Annotated[int | None, typer.Option(min=1, max=MAX_PARTS, help="Cut it into so many parts.")] = None,
    part_size: Annotated[int | None, typer.Option(metavar="BYTES", help="Cut it into parts of this size.")] = None,
    as_json: Json = False,
) -> None:
    """Print a file's part plan and checksums.

    Number, offset, length and CRC64NVME of every part; CRC64NVME and SHA-256 of the file.

    Without --parts or --part-size, the parts are those the server would plan.

    \b
    Examples:
      rushes checksum scene-12.mov
      rushes checksum scene-12.mov --parts 8 --json
    """
    if parts is not None and part_size is not None:
        raise Invalid("parts_twice", "Give either --parts or --part-size, not both.")
    with LocalFile(path) as file:
        plan = _plan(file.size, parts, part_size)
        crcs, sha256 = _read(file, plan)
        file.check_unchanged()
    told = _told(path, plan, crcs, sha256)
    if as_json:
        print(json.dumps(told))
        return
    console = Console(highlight=False)
    console.print(f"{'part':>5}  {'offset':>15}  {'length':>13}  CRC64NVME")
    for part in told["parts"]:
        console.print(f"{part['number']:>5}  {part['offset']:>15}  {part['length']:>13}  {part['crc64nvme']}")
    console.print(f"size       {plan.size}\nCRC64NVME  {told['crc64nvme']}\nSHA-256    {sha256}")


def _plan(size: int, parts: int | None, part_size: int | None) -> PartPlan:
    if parts == 1 and size <= MAX_PART:
        return PartPlan(size, size, 1)  # a single part may have any size
    return plan_parts(size, -(-size // parts) if parts else part_size)


def _read(file: LocalFile, plan: PartPlan) -> tuple[list[int], str]:
    """The CRC64NVME of every part and the SHA-256 of the file, in one reading."""
    whole, block = hashlib.sha256(), memoryview(bytearray(BLOCK))
    crcs, offset = [], 0
    for number in range(1, plan.part_count + 1):
        crc, end = 0, offset + plan.length(number)
        while offset < end:
            count = file.read_into(block[: end - offset], offset)
            crc = crc64nvme(block[:count], crc)
            whole.update(block[:count])
            offset += count
        crcs.append(crc)
    return crcs, whole.hexdigest()


def _told(path: Path, plan: PartPlan, crcs: list[int], sha256: str) -> dict[str, Any]:
    lengths = [plan.length(number) for number in range(1, plan.part_count + 1)]
    return {
        "file": str(path),
        "size": plan.size,
        "part_size": plan.part_size,
        "parts": [
            {"number": number, "offset": (number - 1) * plan.part_size, "length": length, "crc64nvme": encode(crc)}
            for number, (length, crc) in enumerate(zip(lengths, crcs, strict=True), 1)
        ],
        "crc64nvme": encode(combine(zip(crcs, lengths, strict=True))),
        "sha256": sha256,
    }
