"""What of a sound file is played: which files there are and how each is made, and whether they came out whole.

preview.m4a and hls-audio.mp4 are one AAC encode (or the source's own AAC), preview.mp3 one of LAME (or the source's own
MP3). Data and pure decisions; `inside/previews.py` writes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rushes.errors import Unavailable
from rushes.media import cmaf
from rushes.media.info import AudioInfo
from rushes.media.ladder import audio_rate
from rushes.media.outputs import Output, collect

RECIPE = 1
M4A, MP3, HLS = "preview.m4a", "preview.mp3", "hls-audio.mp4"
_BIT_RATES = {1: 96_000, 2: 128_000}  # by channels
_MOST_COPIED = 330_000  # bits per second
_HEADED = {"mov", "matroska"}  # containers that keep what an AAC decoder must know in their head, as MP4 does
_SEGMENT_SECONDS = 4
_SLACK = 0.25  # seconds that encoders may add or lose at the ends
# A head with an edit list and no samples, then fragments: what hls.js and Media Source Extensions take as it is.
_CMAF = {
    "movflags": "+cmaf+delay_moov+default_base_moof+skip_trailer",
    "frag_duration": str(_SEGMENT_SECONDS * 1_000_000),
}
_FASTER = {"aac": {"aac_coder": "fast"}, "libmp3lame": {"compression_level": "7"}}  # 0.6 and 0.5 of the usual CPU


def plan_previews(sound: AudioInfo, demuxer: str, *, copy: bool = True) -> list[dict[str, Any]]:
    """The arguments `previews` of the task `sound`. With `copy`, what players take as it is is not encoded again."""
    copied = playable(sound, demuxer) if copy else None
    channels, rate = min(2, sound.channels), audio_rate(sound.sample_rate)
    aac = [{"name": M4A, "format": "ipod", "options": {"movflags": "+faststart"}},
           {"name": HLS, "format": "mp4", "options": _CMAF}]  # fmt: skip
    mp3: list[dict[str, Any]] = [{"name": MP3, "format": "mp3", "options": {}}]
    return [
        {
            "codec": codec,
            "files": files,
            "copy": codec == copied,
            "frame_size": frame_size,
            "rate": rate,
            "layout": "mono" if channels == 1 else "stereo",
            "bit_rate": _BIT_RATES[channels],
            "options": _FASTER[codec],
        }
        for codec, files, frame_size in (("aac", aac, 1024), ("libmp3lame", mp3, 1152))
    ]


def playable(sound: AudioInfo, demuxer: str) -> str | None:
    """The encoder that is not needed, because browsers play this sound as it is, at no more than a preview's cost."""
    if sound.channels > 2 or sound.sample_rate not in {44_100, 48_000} or (sound.bit_rate or 0) > _MOST_COPIED:
        return None
    if sound.codec == "mp3":
        return "libmp3lame"
    return "aac" if sound.codec == "aac" and sound.profile == "LC" and demuxer in _HEADED else None


def check_heard(name: str, expected: float, heard: dict[str, Any]) -> None:
    """Raises Unavailable for a preview that is not as long as what was decoded, or whose ends do not decode."""
    seconds, first, last = (heard.get(what) for what in ("seconds", "first", "last"))
    if (
        not isinstance(seconds, (int, float))
        or abs(seconds - expected) > _SLACK + expected / 1000
        or not (first and last)
    ):
        raise Unavailable("tool_crashed", f"{name} came out with {seconds} s of sound, not {expected:.2f} s.")


def collected(job_dir: Path, name: str, one: dict[str, Any], sound: AudioInfo, seconds: float) -> Output:
    """A preview as it lies in the job's directory; `one` is its part of the plan."""
    common: dict[str, Any] = {"duration": seconds, "recipe": RECIPE, "copied": one["copy"]}
    if name != HLS:
        kind = "audio/mpeg" if name == MP3 else "audio/mp4"
        return collect(job_dir, name, "preview", kind, **common, codec="mp3" if name == MP3 else "aac")
    made = collect(job_dir, name, "hls_audio", "audio/mp4")
    try:
        index = cmaf.read(made.path)
        laid = cmaf.segmented(index, _SEGMENT_SECONDS)
    except ValueError as error:
        raise Unavailable("tool_crashed", f"{name} came out as something else: {error}.") from error
    peak, average = cmaf.bandwidths(laid)
    return collect(
        job_dir,
        name,
        "hls_audio",
        "audio/mp4",
        **common,
        segments=laid,
        codecs=index.codecs,
        channels=1 if one["layout"] == "mono" else 2,
        language=sound.language,
        default=True,
        bandwidth=peak,
        average_bandwidth=average,
    )
