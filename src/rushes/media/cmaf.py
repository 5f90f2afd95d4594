"""Reads the boxes of a CMAF file (ISO/IEC 14496-12, 23000-19): where its fragments lie, when each begins, whether with a
key frame; and joins pieces that were made apart.

Only heads are read, never samples. The files were made among users' bytes: every length is checked, and whatever does
not add up is a ValueError.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from rushes.model import Segments

_MOST_HEAD = 16 * 1024 * 1024  # bytes of a box that is read whole
_COPY = 4 * 1024 * 1024
_NOT_SYNC = 0x10000  # sample_is_non_sync_sample
_CONTAINERS = {b"moov", b"trak", b"edts", b"mdia", b"minf", b"stbl", b"mvex", b"traf"}


@dataclass(frozen=True)
class Fragment:
    """A moof with its mdat, and what lies before the moof. Times in ticks of the file's time scale."""

    offset: int  # bytes from the file's beginning
    length: int  # bytes
    sequence: int  # offset of its sequence number
    clock: int  # offset of the time at which it is decoded, 8 bytes
    last: int | None  # offset of the last sample's duration, where it has one of its own
    decode: int  # when the first sample is decoded
    start: int  # when it is shown
    duration: int
    samples: int
    key: bool  # the first sample needs no other
    open: bool  # some sample is shown before the first, so it needs the fragment before


@dataclass(frozen=True)
class Index:
    """A CMAF file of one track."""

    path: Path
    init: int  # bytes before the first fragment
    timescale: int  # ticks a second
    codecs: str  # RFC 6381: "avc1.64001f", "mp4a.40.2", "vp09.00.31.08"
    width: int  # pixels; 0 for sound
    height: int
    late: int  # ticks by which samples are stored as later than they are shown: the edit list's
    edit: int  # offset of that in the file, 4 bytes; 0 without an edit list
    fragments: tuple[Fragment, ...]

    @property
    def samples(self) -> int:
        return sum(fragment.samples for fragment in self.fragments)

    @property
    def begin(self) -> float:
        """Seconds on the source's time line."""
        return self.fragments[0].start / self.timescale

    @property
    def end(self) -> float:
        last = self.fragments[-1]
        return (last.start + last.duration) / self.timescale


def read(path: Path) -> Index:
    """The index of a file of one track. Raises ValueError."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        head: _Head | None = None
        init = begin = head_at = 0
        moof: tuple[int, bytes] | None = None
        fragments: list[Fragment] = []
        for offset, kind, start, length in _boxes(file, size):
            if kind == b"moov":
                head, head_at = _read_head(_body(file, start, length)), start
            elif kind == b"moof":
                begin = begin if fragments or init else offset
                init = init or offset
                moof = start, _body(file, start, length)
            elif kind == b"mdat":
                if moof is None or head is None:
                    raise ValueError("samples without their head")
                end = start + length
                fragments.append(_fragment(moof, head, begin, end - begin))
                begin, moof = end, None
        if head is None or not fragments:
            raise ValueError("no fragment")
        edit = head.edit and head_at + head.edit
        what = (head.timescale, head.codecs, head.width, head.height)
        return Index(path, init, *what, head.late, edit, tuple(fragments))


def _boxes(file: BinaryIO, size: int) -> Iterator[tuple[int, bytes, int, int]]:
    """(offset, kind, offset of the body, length of the body) of the boxes of the file itself."""
    offset = 0
    while offset < size:
        file.seek(offset)
        head = file.read(16)
        length, kind, start = _box(head, 0, size - offset)
        yield offset, kind, offset + start, length - start
        offset += length


def _box(data: bytes, at: int, room: int) -> tuple[int, bytes, int]:
    """(length, kind, length of the head) of the box at `at`."""
    if len(data) < at + 8:
        raise ValueError("a box is cut off")
    length, kind = struct.unpack_from(">I4s", data, at)
    start = 8
    if length == 1 and len(data) >= at + 16:
        (length,) = struct.unpack_from(">Q", data, at + 8)
        start = 16
    if not start <= length <= room:
        raise ValueError(f"a box of {length} bytes where {room} are left")
    return length, kind, start


def _body(file: BinaryIO, start: int, length: int) -> bytes:
    if length > _MOST_HEAD:
        raise ValueError(f"a head of {length} bytes")
    file.seek(start)
    return file.read(length)


def _inner(data: bytes, at: int, end: int, path: tuple[bytes, ...] = ()) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the bodies of all boxes inside, depth first."""
    while at < end:
        length, kind, start = _box(data, at, end - at)
        yield kind, at + start, at + length
        if kind in _CONTAINERS and len(path) < 8:
            yield from _inner(data, at + start, at + length, (*path, kind))
        at += length


def _number(data: bytes, at: int, form: str = ">I") -> int:
    try:
        return int(struct.unpack_from(form, data, at)[0])
    except struct.error:
        raise ValueError("a box is too short") from None


@dataclass(frozen=True)
class _Head:
    timescale: int
    codecs: str
    width: int
    height: int
    late: int
    edit: int
    duration: int  # of a sample, where its fragment does not say
    flags: int


def _read_head(data: bytes) -> _Head:
    timescale = duration = flags = tracks = width = height = late = edit = 0
    codecs = ""
    for kind, at, _ in _inner(data, 0, len(data)):
        if kind == b"mdhd":
            timescale = _number(data, at + (20 if data[at] else 12))
        elif kind == b"elst":
            late, edit = _edit(data, at)
        elif kind == b"trex":
            duration, flags = _number(data, at + 12), _number(data, at + 20)
        elif kind == b"trak":
            tracks += 1
        elif kind == b"stsd":
            codecs, width, height = _entry(data, at + 8)
    if tracks != 1 or not timescale or not codecs:
        raise ValueError(f"{tracks} tracks, {timescale} ticks a second, codec {codecs!r}")
    return _Head(timescale, codecs, width, height, late, edit, duration, flags)


def _edit(data: bytes, at: int) -> tuple[int, int]:
    """(when the one edit begins, in ticks; where that is said)."""
    late = _number(data, at + 12, ">i")
    if _number(data, at + 4) != 1 or late < 0 or data[at]:
        raise ValueError("an edit list of more than a beginning")
    return late, at + 12


def _entry(data: bytes, at: int) -> tuple[str, int, int]:
    """(RFC 6381's name, width, height) of the first sample entry."""
    length, kind, start = _box(data, at, len(data) - at)
    picture = kind in {b"avc1", b"avc3", b"vp09", b"av01"}
    boxes = dict(_children(data, at + start + (78 if picture else 28), at + length))
    name = kind.decode("latin-1")
    if picture:
        width, height = _number(data, at + start + 24, ">H"), _number(data, at + start + 26, ">H")
        return f"{name}.{_parameters(data, boxes)}", width, height
    if kind == b"mp4a":
        return "mp4a.40.2", 0, 0
    raise ValueError(f"a track of {name!r}")


def _children(data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int]]:
    while at < end:
        length, kind, start = _box(data, at, end - at)
        yield kind, at + start
        at += length


def _parameters(data: bytes, boxes: dict[bytes, int]) -> str:
    if b"avcC" in boxes:
        at = boxes[b"avcC"]
        return data[at + 1 : at + 4].hex()
    if b"vpcC" in boxes:  # after version and flags: profile, level, bit depth in the upper half
        at = boxes[b"vpcC"] + 4
        return f"{data[at]:02d}.{data[at + 1]:02d}.{data[at + 2] >> 4:02d}"
    if b"av1C" in boxes:  # AV1 in ISOBMFF §2.3 and §5
        one, two = data[boxes[b"av1C"] + 1], data[boxes[b"av1C"] + 2]
        depth = 12 if two & 0x20 else 10 if two & 0x40 else 8
        return f"{one >> 5}.{one & 31:02d}{'H' if two & 0x80 else 'M'}.{depth:02d}"
    raise ValueError("a codec without its parameters")


def _fragment(moof: tuple[int, bytes], head: _Head, offset: int, length: int) -> Fragment:
    """One track, one or several runs of samples."""
    base, data = moof
    duration, flags, decode, sequence, clock = head.duration, head.flags, 0, None, None
    total = samples = shown = 0
    earliest: int | None = None
    key = False
    last: int | None = None
    for kind, at, end in _inner(data, 0, len(data)):
        if kind == b"mfhd":
            sequence = base + at + 4
        elif kind == b"tfhd":
            duration, flags = _defaults(data, at, duration, flags)
        elif kind == b"tfdt":
            if not data[at]:
                raise ValueError("a time of 32 bits")
            decode, clock = _number(data, at + 4, ">Q"), base + at + 4
        elif kind == b"trun":
            run = _run(data, at, end, duration, flags)
            if not samples:
                key, shown = run.key, run.first
            if run.samples:
                earliest = total + run.earliest if earliest is None else min(earliest, total + run.earliest)
                last = None if run.last is None else base + run.last
            total, samples = total + run.total, samples + run.samples
    if sequence is None or clock is None or not samples:
        raise ValueError("a fragment without samples")
    begins_late = earliest is not None and earliest < shown
    start = decode + shown - head.late
    return Fragment(offset, length, sequence, clock, last, decode, start, total, samples, key, begins_late)


def _defaults(data: bytes, at: int, duration: int, flags: int) -> tuple[int, int]:
    """tfhd: duration and flags of samples whose run does not say."""
    has = _number(data, at) & 0xFFFFFF
    at += 8 + (8 if has & 1 else 0) + (4 if has & 2 else 0)
    if has & 8:
        duration, at = _number(data, at), at + 4
    at += 4 if has & 0x10 else 0
    return duration, _number(data, at) if has & 0x20 else flags


@dataclass(frozen=True)
class _Run:
    samples: int
    total: int  # ticks
    first: int  # when the first sample is shown, from the run's beginning
    earliest: int  # when the earliest is
    key: bool
    last: int | None


def _run(data: bytes, at: int, end: int, duration: int, flags: int) -> _Run:
    version, has, count = data[at], _number(data, at) & 0xFFFFFF, _number(data, at + 4)
    at += 8 + (4 if has & 1 else 0)
    if has & 4:
        flags, at = _number(data, at), at + 4
    fields = [bit for bit in (0x100, 0x200, 0x400, 0x800) if has & bit]
    if at + 4 * len(fields) * count > end or (not fields and count > _MOST_HEAD):
        raise ValueError("a run of more samples than it has room for")
    values = struct.unpack_from(f">{len(fields) * count}I", data, at)
    column = {bit: values[number :: len(fields)] for number, bit in enumerate(fields)}
    if 0x400 in column and not has & 4 and count:
        flags = column[0x400][0]
    durations = column.get(0x100)
    shifts: Sequence[int] = column.get(0x800, ())
    if version and shifts:
        shifts = [shift - (shift >> 31 << 32) for shift in shifts]
    earliest = moment = 0
    for number, shift in enumerate(shifts):
        earliest = min(earliest, moment + shift) if number else shift
        moment += duration if durations is None else durations[number]
    total = duration * count if durations is None else sum(durations)
    last = at + 4 * len(fields) * (count - 1) if durations is not None and count else None
    return _Run(count, total, shifts[0] if shifts else 0, earliest, not flags & _NOT_SYNC, last)


def segmented(index: Index, seconds: float, edges: Sequence[float] | None = None) -> Segments:
    """The file's segments: fragments gathered until `seconds` are full, or up to the next of `edges` (seconds on the
    source's time line). The one after begins with a key frame.
    """
    starts: list[int] = []
    times = [fragment.start / index.timescale for fragment in index.fragments]
    coming = iter(edges or ())
    edge = next(coming, None)
    for number, (fragment, time) in enumerate(zip(index.fragments, times, strict=True)):
        full = time >= times[starts[-1]] + seconds if starts and edges is None else edge is not None and time >= edge
        if not number or (full and fragment.key):
            starts.append(number)
            while edge is not None and edge <= time:
                edge = next(coming, None)
    ends = [*starts[1:], len(index.fragments)]
    lengths = [sum(f.length for f in index.fragments[a:b]) for a, b in zip(starts, ends, strict=True)]
    bounds = [*(times[start] for start in starts), index.end]
    return Segments(index.init, lengths, [round(b - a, 6) for a, b in pairwise(bounds)])


def bandwidths(laid: Segments) -> tuple[int, int]:
    """(peak, average) bits per second, as RFC 8216 §4.3.4.2 wants them: the peak is that of the densest segment."""
    peak = max(8 * length / max(0.5, lasts) for length, lasts in zip(laid.lengths, laid.seconds, strict=True))
    average = 8 * sum(laid.lengths) / max(0.001, sum(laid.seconds))
    return round(max(peak, average)), round(average)


def join(pieces: Sequence[Index], out: Path) -> None:
    """Write one file of pieces that follow each other; each piece is removed when it is written.

    A piece's last sample lasts until the next piece begins, and all are decoded as long before they are shown as the
    first piece says. Raises ValueError when they are not of one kind.
    """
    first = pieces[0]
    head, plain = _head_of(first)
    number = 0
    with out.open("xb") as file:
        file.write(head)
        for piece, following in zip(pieces, [*pieces[1:], None], strict=True):
            if _head_of(piece)[1] != plain:
                raise ValueError(f"{piece.path.name} was encoded in another way than {first.path.name}")
            with piece.path.open("rb") as source:
                for fragment in piece.fragments:
                    number += 1
                    at = file.tell()
                    _copy(source, file, fragment.offset, fragment.length)
                    _patch(file, at + fragment.sequence - fragment.offset, struct.pack(">I", number))
                    decode = fragment.decode + first.late - piece.late
                    _patch(file, at + fragment.clock - fragment.offset, struct.pack(">Q", decode))
                _close_gap(file, at, piece, following)
            piece.path.unlink()


def _head_of(piece: Index) -> tuple[bytes, bytes]:
    """The head, and the same without what may differ."""
    with piece.path.open("rb") as file:
        head = _body(file, 0, piece.init)
    return head, head[: piece.edit] + head[piece.edit + 4 :] if piece.edit else head


def _copy(source: BinaryIO, target: BinaryIO, offset: int, length: int) -> None:
    source.seek(offset)
    while length:
        chunk = source.read(min(length, _COPY))
        if not chunk:
            raise ValueError("a piece is shorter than it was")
        target.write(chunk)
        length -= len(chunk)


def _patch(file: BinaryIO, at: int, data: bytes) -> None:
    file.seek(at)
    file.write(data)
    file.seek(0, os.SEEK_END)


def _close_gap(file: BinaryIO, at: int, piece: Index, following: Index | None) -> None:
    """Let the last sample of a piece last until the next one begins."""
    last = piece.fragments[-1]
    if following is None or last.last is None:
        return
    gap = following.fragments[0].decode - following.late - (last.decode - piece.late + last.duration)
    with piece.path.open("rb") as source:
        duration = _number(_body(source, last.last, 4), 0)
    if gap and duration + gap > 0:
        _patch(file, at + last.last - last.offset, struct.pack(">I", duration + gap))
