"""Where another reader is known to see a file otherwise, and why we keep to what we say. Data."""

from __future__ import annotations

import re

_KNOWN: tuple[tuple[str, str, str, str], ...] = (  # files and facts as patterns, the reader, the reason
    (r"tape\.dv", "ExifTool", r"created", "ffmpeg writes the zero of its clock into DV; we take it for no time at all."),
    (r"tape\.dv", "MediaInfo", r"audio\.0\.codec", "DV stores samples big-endian; FFmpeg hands them on as little-endian."),
    (r".*\.heic", "ExifTool", r"image\.height", "It gives the coded height; the clean aperture leaves one row out."),
    (r"camera\.dng", "ExifTool", r"image\.orientation",
     "Our field is what is still to be turned, and LibRaw turns by itself; EXIF's own value is in image.exif."),
    (r"raw\.h264", "MediaInfo", r"duration", "A bare stream has no clock: it counts the frames at the rate that H.264 hints."),
    (r"broadcast\.ts|anamorphic\.mpg|bottom\.mkv|vcd\.mpg", "MediaInfo", r"timecode",
     "The zero that MPEG encoders write into each GOP; we take only others for a timecode."),
    (r"vfr\.mp4", "MediaInfo", r"video\.frames",
     "Of 54 samples it leaves out one before the edit list's beginning that is shown."),
    (r"edit_list\.mp4", "MediaInfo", r"video\.frames", "It divides the time by the rate; 92 frames decode."),
    (r"phone\.3gp", "MediaInfo", r"video\.(profile|level_name)",
     "FFmpeg does not tell H.263's."),
    (r"dnxhr\..*", "MediaInfo", r"video\.(profile|level_name)", "What we call the profile it calls the level."),
    (r"vcd\.mpg", "MediaInfo", r"video\.sample_aspect",
     "MPEG-1 has a table of aspects: it names the system (16:15), we the value."),
    (r"interlaced\.ts|moving_fields\.mts|raw\.h264|fast\.mkv|lies\.mp3", "MediaInfo", r"video\.vfr",
     "Without H.264's fixed_frame_rate_flag it says variable, whatever the times are."),
)  # fmt: skip


def known(name: str, reader: str, fact: str) -> str | None:
    """The reason; None for a difference that nobody has looked at."""
    return next(
        (
            why
            for files, who, facts, why in _KNOWN
            if who == reader and re.fullmatch(files, name) and re.fullmatch(facts, fact)
        ),
        None,
    )
