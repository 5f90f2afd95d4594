"""Loudness by EBU R128 (ITU-R BS.1770, EBU Tech 3342 for the range), measured by FFmpeg's filter `ebur128` in passing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av.error
import av.filter

from rushes.media.inside.resampled import Resampled, laid_out

_GATE = -70.0  # LUFS: what is quieter does not count (BS.1770), and the filter says this when nothing counted


class Loudness:
    """Of one track."""

    def __init__(self) -> None:
        self._resampled: Resampled | None = None
        self._graph: Any = None
        self._heard = 0  # samples
        self._last: dict[str, str] = {}

    def hear(self, frame: Any) -> None:
        frame = laid_out(frame)
        if self._resampled is None:
            self._resampled = Resampled(sample="dbl", layout=frame.layout, rate=frame.sample_rate)
        self._push(self._resampled.take(frame))

    def finish(self) -> dict[str, float | None]:
        """`integrated` (LUFS), `true_peak` (dBTP) and `range` (LU); None for what silence does not have."""
        if self._resampled is not None:
            self._push(self._resampled.flush())
        if self._graph is not None:
            self._graph.push(None)
            self._pull()
        integrated = float(self._last.get("lavfi.r128.I", "-inf"))
        peak = float(self._last.get("lavfi.r128.true_peak", "0"))
        audible = math.isfinite(integrated) and integrated > _GATE
        return {
            "integrated": round(integrated, 2) if audible else None,
            "true_peak": round(20 * math.log10(peak), 2) if peak > 0 else None,
            "range": round(float(self._last.get("lavfi.r128.LRA", "0")), 2) if audible else None,
        }

    def _push(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            if self._graph is None:
                self._graph = _graph(frame)
            frame.pts, frame.time_base = self._heard, Fraction(1, frame.sample_rate)
            self._heard += frame.samples
            self._graph.push(frame)
            self._pull()

    def _pull(self) -> None:
        try:
            while True:
                self._last = self._graph.pull().metadata or self._last
        except (av.error.BlockingIOError, av.error.EOFError):
            return


def _graph(frame: Any) -> Any:
    graph = av.filter.Graph()
    source = graph.add_abuffer(
        format=frame.format.name,
        sample_rate=frame.sample_rate,
        layout=frame.layout.name,
        time_base=Fraction(1, frame.sample_rate),
    )
    meter, sink = graph.add("ebur128", "framelog=quiet:metadata=1:peak=true"), graph.add("abuffersink")
    source.link_to(meter, 0, 0)
    meter.link_to(sink, 0, 0)
    graph.configure()
    return graph
