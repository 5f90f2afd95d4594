"""Frame rates, aspects and levels as people write them: containers round the former and number the latter. Pure."""

from __future__ import annotations

from fractions import Fraction

_STANDARD = [Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)] + [
    Fraction(n) for n in (5, 10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 90, 100, 120, 240)
]
_NEAR = 2e-4  # of a rate: less than half of what 30 and 30000/1001 differ by
_MPEG2_LEVELS = {4: "High", 6: "High 1440", 8: "Main", 10: "Low", 2: "High", 5: "Main"}  # the last two of 4:2:2
_ASPECTS = (Fraction(16, 9), Fraction(4, 3), Fraction(9, 16), Fraction(3, 4), Fraction(1), Fraction(3, 2))


def exact(average: Fraction | None, base: Fraction | None, *, vfr: bool) -> Fraction | None:
    """The rate that is meant. `base` is FFmpeg's guess from timestamps, which for fields is twice the frames' rate."""
    if vfr or not average:
        return average or base
    near = base is not None and abs(base / average - 1) < Fraction(1, 50)
    for rate in (base if near else None, average):
        standard = next((one for one in _STANDARD if rate and abs(float(rate / one) - 1) < _NEAR), None)
        if standard is not None:
            return standard
    return base if near else average


def aspect(value: Fraction) -> str:
    """ "16:9" for what is within a pixel or so of it; else as short as can be."""
    nearest = min(_ASPECTS, key=lambda one: abs(one - value))
    short = nearest if abs(float(nearest / value) - 1) < 0.004 else value.limit_denominator(100)
    return f"{short.numerator}:{short.denominator}"


def level(codec: str, number: int) -> str | None:
    """As people write it; None where the codec has no levels, or does not say."""
    if number < 0 or (number == 0 and codec != "av1"):
        return None
    match codec:
        case "h264":
            return "1b" if number == 9 else f"{number // 10}.{number % 10}"
        case "hevc" | "vvc":
            unit = 30 if codec == "hevc" else 16
            return f"{number // unit}.{number % unit * 10 // unit}"
        case "vp9":
            return f"{number // 10}.{number % 10}"
        case "av1":
            return f"{2 + number // 4}.{number % 4}"
        case "mpeg2video":
            return _MPEG2_LEVELS.get(number)
        case "mpeg4":
            return str(number)
    return None
