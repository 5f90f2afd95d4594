"""The task that listens to a file once and makes all that comes of its sound: peaks, waveform, spectrogram, loudness, and
for sound files what is played.

The first sound gets all of it. Loudness is measured of every track named in `meters`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushes.media.inside import peaks, plugins, spectrum, talk
from rushes.media.inside.loudness import Loudness
from rushes.media.inside.opened import Decoder, opened, packets
from rushes.media.inside.peaks import Peaks
from rushes.media.inside.previews import Copied, Encoded
from rushes.media.inside.reader import Reader
from rushes.media.inside.resampled import Resampled, silence_before
from rushes.media.inside.spectrum import Spectrum

plugins.load()
_BLOCK = 65536  # samples gathered before they are drawn
_SLOWEST, _FASTEST = 1000, 768_000  # hertz


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(make_sound, arguments, feed)


def make_sound(arguments: dict[str, Any], reader: Reader, voice: talk.Voice) -> dict[str, Any]:
    """Write all files; the result says how many seconds were decoded, and the loudness of each track. Raises Refused."""
    with opened(reader, arguments, arguments["demuxer"]) as container:
        streams = {index: container.streams[index] for index in {arguments["index"], *arguments["meters"]}}
        first = streams[arguments["index"]]
        pictures = Pictures(arguments, _rate(first))
        meters = {index: Loudness() for index in arguments["meters"]}
        tracks = {index: Track(container, arguments, [meter]) for index, meter in meters.items()}
        main_track = tracks.setdefault(first.index, Track(container, arguments, []))
        encoded = [Encoded(preview) for preview in arguments["previews"] if not preview["copy"]]
        copied = [Copied(preview, first) for preview in arguments["previews"] if preview["copy"]]
        main_track.listeners += [pictures, *encoded]
        for packet in packets(container, *streams.values()):
            bad = main_track.decoder.bad
            frames = tracks[packet.stream.index].take(packet)  # the last of each has no `stream_index`
            if packet.stream.index == first.index and main_track.decoder.bad == bad:
                for copy in copied:
                    copy.pass_on(packet, frames)
                _report(voice, pictures.seconds, arguments["seconds"])
        for one in encoded:
            one.finish()
        for copy in copied:
            copy.finish()
        loudness = {str(index): meter.finish() for index, meter in meters.items()}
    main_track.decoder.check()
    return pictures.finish() | {
        "loudness": loudness,
        "copied": min((copy.seconds for copy in copied), default=None),
        "changed": any(copy.changed for copy in copied),
    }


def _rate(stream: Any) -> int:
    rate = int(stream.codec_context.sample_rate)
    if not _SLOWEST <= rate <= _FASTEST:
        raise talk.Refused(
            "unsupported", f"The sample rate of this sound is {rate} Hz; {_SLOWEST} to {_FASTEST} can be."
        )
    return rate


def _report(voice: talk.Voice, done: float, seconds: float) -> None:
    if seconds:
        voice.progress(min(0.99, done / seconds), f"{done:.0f} of {seconds:.0f} s are heard")


class Track:
    """Decodes one stream and lets others hear it, from the moment on at which the file begins."""

    def __init__(self, container: Any, arguments: dict[str, Any], listeners: list[Any]) -> None:
        self.decoder = Decoder()
        self.listeners = listeners
        self._container = container
        self._seconds = arguments["seconds"]
        self._begun = False

    def take(self, packet: Any) -> list[Any]:
        """What was decoded of a packet."""
        frames = self.decoder.frames(packet)
        if frames and not self._begun:
            self._begun = True
            self._hear(silence_before(self._container, frames[0], self._seconds))
        self._hear(frames)
        return frames

    def _hear(self, frames: Any) -> None:
        for frame in frames:
            for listener in self.listeners:
                listener.hear(frame)


class Pictures:
    """Gathers what peaks and spectrogram are drawn from."""

    def __init__(self, arguments: dict[str, Any], rate: int) -> None:
        self._arguments = arguments
        channels = arguments["peaks"]["channels"]
        self._resampled = Resampled("s16p", "mono" if channels == 1 else "stereo", rate)
        self._peaks = Peaks(rate, channels)
        drawn = arguments["spectrogram"]
        self._spectrum = Spectrum(rate, drawn["width"], drawn["height"], drawn["lowest"])
        self._waiting: list[peaks.Samples] = []
        self._samples = 0  # of them

    @property
    def seconds(self) -> float:
        return self._peaks.samples / self._peaks.rate

    def hear(self, frame: Any) -> None:
        self._gather(self._resampled.take(frame))
        if self._samples >= _BLOCK:
            self._draw()

    def finish(self) -> dict[str, Any]:
        self._gather(self._resampled.flush())
        self._draw()
        if not self._peaks.samples:
            raise talk.Refused("undecodable", "No sound of this file can be decoded.")
        length = peaks.write(self._peaks, self._arguments["peaks"])
        drawn = self._arguments["spectrogram"]
        spectrum.draw(self._spectrum, self.seconds, drawn["floor"], drawn["ceiling"]).save(drawn["file"], "PNG")
        return {
            "seconds": self.seconds,
            "length": length,
            "samples_per_pixel": self._peaks.scale,
            "highest": round(self._spectrum.highest),
        }

    def _gather(self, frames: Any) -> None:
        for frame in frames:
            self._waiting.append(frame.to_ndarray())
            self._samples += frame.samples

    def _draw(self) -> None:
        if self._waiting:
            samples = np.concatenate(self._waiting, axis=1)
            self._peaks.add(samples)
            self._spectrum.add(samples.mean(axis=0, dtype=np.float32))
        self._waiting, self._samples = [], 0
