"""Frames of video made to be shown: upright, in square pixels, without combs, in 8-bit sRGB whatever their range was."""

from __future__ import annotations

from typing import Any

import av
import av.error
import av.filter
import numpy as np
from PIL import Image

from rushes.media.inside import tonemap

_BT2020 = 9  # primaries by ITU-T H.273
_UNSPECIFIED = 2
_TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}


def picture(frame: Any, arguments: dict[str, Any], side: int, *, combs: bool = False) -> Image.Image:
    """Scaled to the displayed shape, no side longer than `side`, then turned. `combs` are taken out of a frame that says
    it is interlaced, which small pictures do not need.
    """
    width, height = arguments["width"], arguments["height"]
    scale = min(1.0, side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rotation = arguments["rotation"]
    across, down = size[::-1] if rotation in {90, 270} else size
    if combs and frame.interlaced_frame:
        frame = _deinterlaced(frame)
    if frame.color_trc in {tonemap.PQ, tonemap.HLG} or frame.color_primaries == _BT2020:
        shown = _wide(frame, across, down)
    else:
        matrix = "ITU709" if frame.colorspace == _UNSPECIFIED and frame.height >= 720 else None
        shown = frame.to_image(width=across, height=down, interpolation="AREA", src_colorspace=matrix)
    turn = _TURNS.get(rotation)
    return shown if turn is None else shown.transpose(turn)


def _deinterlaced(frame: Any) -> Any:
    """Within the one frame, which bwdif would leave as it is; itself where that cannot be."""
    try:
        graph = av.filter.Graph()
        source = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base
        )
        filters = [graph.add("yadif", "mode=send_frame:deint=interlaced"), graph.add("buffersink")]
        for one, next_ in zip([source, *filters], filters, strict=False):
            one.link_to(next_)
        graph.configure()
        graph.push(frame)
        graph.push(None)
        made = graph.pull()
    except (av.error.FFmpegError, ValueError):
        return frame
    return made


def _wide(frame: Any, across: int, down: int) -> Image.Image:
    """BT.2020, with PQ, HLG or an ordinary transfer, through linear light."""
    matrix = "BT2020" if frame.colorspace in {_UNSPECIFIED, 9, 10} else None
    coded = frame.reformat(across, down, "rgb48le", src_colorspace=matrix, interpolation="AREA").to_ndarray()
    values = coded.astype(np.float32) / 65535
    encoded = np.clip(tonemap.light(values, frame.color_trc), 0.0, 1.0) ** np.float32(
        1 / 2.4
    )  # BT.1886, as a player shows the proxies
    return Image.fromarray((encoded * 255 + 0.5).astype(np.uint8))
