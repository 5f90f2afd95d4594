"""Which containers and codecs a tenant takes, of those that can be read at all. Pure.

A tenant's rules are lists of names by what they are about. Names that begin with a minus are refused; where there are others,
only those are taken. `pcm` stands for every `pcm_…`. Without a rule all that can be read is taken.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rushes.errors import Invalid, Rejected
from rushes.media.info import MediaInfo

ABOUT = {"container": "containers", "video": "video codecs", "audio": "audio codecs", "image": "image formats"}
Rules = Mapping[str, Sequence[str]]
_NAME = re.compile(r"-?[a-z0-9][a-z0-9_.]{0,39}", re.ASCII)
_MOST = 100  # names of one rule


def check_rules(rules: Rules) -> dict[str, list[str]]:
    """The rules as they are kept; an empty list takes a rule away. Raises `Invalid`."""
    if unknown := rules.keys() - ABOUT.keys():
        raise Invalid("format_invalid", f"Formats are of {', '.join(ABOUT)}, not of {', '.join(sorted(unknown))}.")
    kept: dict[str, list[str]] = {}
    for about, names in rules.items():
        wanted = list(dict.fromkeys(name.strip().lower() for name in names))
        if bad := [name for name in wanted if not _NAME.fullmatch(name)]:
            raise Invalid(
                "format_invalid", f"{bad[0]!r} is no name of a format; write such as h264, or -avi to refuse it."
            )
        if len(wanted) > _MOST:
            raise Invalid("format_invalid", f"A rule names at most {_MOST} formats.")
        kept[about] = wanted
    return kept


def check_formats(rules: Rules, info: MediaInfo) -> None:
    """What was identified must be taken by the tenant. Raises `Rejected` format_refused."""
    if info.image is not None:
        _check(rules, "container", info.wrapper or info.format)
        _check(rules, "image", info.format)
        return
    _check(rules, "container", info.wrapper or info.format.split(",", 1)[0])
    if info.video is not None:
        _check(rules, "video", info.video.codec)
    for sound in info.audio:
        _check(rules, "audio", sound.codec)


def _check(rules: Rules, about: str, found: str) -> None:
    names = rules.get(about, ())
    refused = [name[1:] for name in names if name.startswith("-")]
    taken = [name for name in names if not name.startswith("-")]
    if not any(_is(found, name) for name in refused) and (not taken or any(_is(found, name) for name in taken)):
        return
    what = {"container": f"This file is a {found} container", "image": f"This picture is {found}"}.get(
        about, f"The {about} of this file is {found}"
    )
    allowed = f"taken are: {', '.join(taken)}" if taken else f"refused are: {', '.join(refused)}"
    raise Rejected(
        "format_refused",
        f"{what}, which is not taken here; of {ABOUT[about]} {allowed}.",
        found=found,
        of=about,
        allowed=taken,
        refused=refused,
    )


def _is(found: str, name: str) -> bool:
    return found == name or found.startswith(f"{name}_")
