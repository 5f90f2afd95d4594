"""Frames of video made to be shown: upright, in square pixels, without combs, in 8-bit sRGB whatever their range was.

HDR is brought down as the proxies are (`media/commands.py`): light relative to a white of 203 cd/m² (ITU-R BT.2408),
BT.709's primaries, then Mobius on the brightest channel, which leaves all below 30 % of white as it is.
"""

from __future__ import annotations

from typing import Any

import av
import av.error
import av.filter
import numpy as np
from PIL import Image

_PQ, _HLG, _BT2020 = 16, 18, 9  # transfer and primaries by ITU-T H.273
_UNSPECIFIED = 2
_WHITE = 203.0  # cd/m²
_PEAK = 1000.0 / _WHITE  # of what is mapped; brighter light is white
_KNEE = 0.3
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)
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
    if frame.color_trc in {_PQ, _HLG} or frame.color_primaries == _BT2020:
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
    if frame.color_trc == _PQ:
        light = _mobius(_pq(values) / _WHITE @ _TO_709.T)
    elif frame.color_trc == _HLG:
        light = _mobius(_hlg(values) / _WHITE @ _TO_709.T)
    else:
        light = values**2.4 @ _TO_709.T
    encoded = np.clip(light, 0.0, 1.0) ** np.float32(1 / 2.4)  # BT.1886, as a player shows the proxies
    return Image.fromarray((encoded * 255 + 0.5).astype(np.uint8))


def _pq(values: Any) -> Any:
    """SMPTE ST 2084: cd/m²."""
    power = values ** np.float32(1 / 78.84375)
    return 10000 * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** np.float32(
        1 / 0.1593017578125
    )


def _hlg(values: Any) -> Any:
    """ITU-R BT.2100: cd/m² on a display of 1,000, with its system gamma of 1.2."""
    low, high = values**2 / 3, (np.exp((values - 0.55991073) / 0.17883277) + 0.28466892) / 12
    scene = np.where(values <= 0.5, low, high)
    luma = np.maximum(scene @ _LUMA, 1e-6)[..., None]
    return 1000 * scene * luma ** np.float32(0.2)


def _mobius(light: Any) -> Any:
    """FFmpeg's vf_tonemap of that name, without desaturation."""
    brightest = np.maximum(light.max(axis=-1, keepdims=True), 1e-6)
    a = -(_KNEE**2) * (_PEAK - 1) / (_KNEE**2 - 2 * _KNEE + _PEAK)
    b = (_KNEE**2 - 2 * _KNEE * _PEAK + _PEAK) / (_PEAK - 1)
    mapped = (b * b + 2 * b * _KNEE + _KNEE**2) / (b - a) * (brightest + a) / (brightest + b)
    return light * np.where(brightest <= _KNEE, 1.0, np.minimum(mapped, 1.0) / brightest)
