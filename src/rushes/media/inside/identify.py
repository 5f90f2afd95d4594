"""The task that says what a file is, by its bytes: a picture, a video or a sound, and everything a job needs to know
of it.

Reads the container's head (and tail, where its index lies) and decodes the first frames of picture and sound; a few
megabytes of any file. What is said of each kind lies in container.py, videofacts.py, audiofacts.py and imagefacts.py.
"""

from __future__ import annotations

from typing import Any

import av
import av.error

from rushes.media.inside import audiofacts, container, imagefacts, picture, talk, videofacts
from rushes.media.inside.dump import Dump
from rushes.media.inside.opened import NOT_MEDIA, Decoder, opened
from rushes.media.inside.reader import Reader

_PROBED_PACKETS = 2000
_FRAMES = 6  # of the picture that are decoded, so that interlaced ones show
_FRAME_BYTES = 1024 * 1024  # of packets, after which the first one has to do
_PICTURE_BRANDS = {"heic", "heix", "heim", "heis", "mif1", "msf1"}


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(identify, arguments, feed)


def identify(arguments: dict[str, Any], reader: Reader, _: talk.Voice) -> dict[str, Any]:
    """`MediaInfo` as JSON values. Raises Refused."""
    still = picture.opened_picture(reader, arguments["max_pixels"])
    if still is not None:
        return {"kind": "image", "size": reader.size, **imagefacts.identify(still, reader)}
    container.check_riff(reader)
    with opened(reader, arguments) as file:
        return _describe(file, arguments, reader)


def _describe(file: Any, arguments: dict[str, Any], reader: Reader) -> dict[str, Any]:
    _check_streams(file, arguments)
    video = next((s for s in file.streams.video if not container.still(s)), None)
    sounds = list(file.streams.audio)
    if video is None and not sounds:
        raise talk.Refused("not_media", f"{NOT_MEDIA}: it holds neither moving picture nor sound.")
    container.check_whole(file, reader.size)
    dump = Dump(file)
    word = container.wrapper(file, reader)
    frames = _first_frames(file, video, sounds[:1])
    used = [s for s in (video, *sounds) if s is not None]
    counted = container.counted(file, used[0], reader)
    seconds = counted or container.duration(file, used)
    if seconds is not None and seconds > arguments["max_seconds"]:
        raise talk.Refused(
            "too_long", f"This file lasts {seconds:.0f} s; {arguments['max_seconds']:.0f} s are allowed."
        )
    heard = [audiofacts.describe(s, dump) for s in sounds]
    if counted is not None:
        heard[0]["duration"] = counted
    return {
        "kind": "video" if video is not None else "audio",
        "format": file.format.name,
        "container": file.format.long_name,
        "wrapper": word,
        "size": reader.size,
        "duration": seconds,
        "bit_rate": file.bit_rate or None,
        "start": None if file.start_time is None else file.start_time / av.time_base,
        "timecode": container.timecode(file, video, frames[0] if frames else None, sounds),
        "video": videofacts.describe(video, frames, dump) if video is not None else None,
        "audio": heard,
        **container.streams(file, {s.index for s in used}),
        **container.origin(file, video, sounds),
    }


def _check_streams(file: Any, arguments: dict[str, Any]) -> None:
    if len(file.streams) > arguments["max_streams"]:
        raise talk.Refused(
            "too_many_streams",
            f"This file has {len(file.streams)} streams; {arguments['max_streams']} are allowed.",
        )
    if file.metadata.get("major_brand", "").strip() in _PICTURE_BRANDS:
        raise talk.Refused("undecodable", "This HEIC picture is damaged, or of a kind that is not known.")
    for stream in file.streams.video:
        if stream.codec_context is not None and stream.width * stream.height > arguments["max_pixels"]:
            raise talk.Refused(
                "too_many_pixels",
                f"The picture is {stream.width} by {stream.height}; {arguments['max_pixels']} pixels are allowed.",
            )


def _first_frames(file: Any, video: Any, sounds: list[Any]) -> list[Any]:
    """The first decoded frames of the picture; the sound's first is decoded too where there is no picture.

    Raises Refused when the picture, or the sound of a sound file, does not decode.
    """
    needed = video if video is not None else sounds[0]
    decoder = Decoder()
    frames: list[Any] = []
    size = 0
    try:
        for count, packet in enumerate(file.demux(needed) if needed.codec_context is not None else ()):
            frames += decoder.frames(packet)
            size += packet.size
            if frames and (video is None or len(frames) >= _FRAMES or size >= _FRAME_BYTES):
                break
            if count >= _PROBED_PACKETS:
                break
    except av.error.FFmpegError as error:
        if not frames:
            raise talk.Refused("undecodable", f"This file is damaged: {error.strerror}.") from error
    if not frames:
        name = needed.codec_context.name if needed.codec_context is not None else "an unknown codec"
        raise talk.Refused(
            "undecodable", f"No frame of this file can be decoded ({name}): it is damaged or of an unknown kind."
        )
    return [] if video is None else frames
