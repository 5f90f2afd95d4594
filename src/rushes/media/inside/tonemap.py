"""HDR brought down to SDR as the proxies are (`media/commands.py`): light relative to a white of 203 cd/m² (ITU-R BT.2408),
BT.709's primaries, then Mobius on the brightest channel, which leaves all below 30 % of white as it is.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from rushes.media.inside import profiles

PQ, HLG = 16, 18  # transfers by ITU-T H.273
_WHITE = 203.0  # cd/m²
_PEAK = 1000.0 / _WHITE  # of what is mapped; brighter light is white
_KNEE = 0.3
_TO_709 = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32)
_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)


def light(values: Any, transfer: int | None, primaries: int = 9) -> Any:
    """Linear light with BT.709's primaries, 1 at SDR's white, of RGB values from 0 to 1: PQ, HLG, or BT.2020 without HDR."""
    matrix = _TO_709.T if primaries == 9 else profiles.to_709(primaries).T.astype(np.float32)
    if transfer == PQ:
        return _mobius(_pq(values) / _WHITE @ matrix)
    if transfer == HLG:
        return _mobius(_hlg(values) / _WHITE @ matrix)
    return values**2.4 @ matrix


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


def _mobius(values: Any) -> Any:
    """FFmpeg's vf_tonemap of that name, without desaturation."""
    brightest = np.maximum(values.max(axis=-1, keepdims=True), 1e-6)
    a = -(_KNEE**2) * (_PEAK - 1) / (_KNEE**2 - 2 * _KNEE + _PEAK)
    b = (_KNEE**2 - 2 * _KNEE * _PEAK + _PEAK) / (_PEAK - 1)
    mapped = (b * b + 2 * b * _KNEE + _KNEE**2) / (b - a) * (brightest + a) / (brightest + b)
    return values * np.where(brightest <= _KNEE, 1.0, np.minimum(mapped, 1.0) / brightest)
