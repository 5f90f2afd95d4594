"""Which stages a run has, what each waits for, and how much of the run it is. Pure.

    identify ∥ digest, then poster ∥ stills ∥ sound ∥ (copy → encode 0 … N-1 → join); published;
    then extra 0 … N-1 → extra_join

What a person looks at comes first; what others wait for comes before what nobody waits for (see `queues.py`). Identifying
says which stages there are; the digest reads the whole original meanwhile.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from rushes.model import Job, JobState, Json

Wish = frozenset[str] | None  # the types of stage that are to run; None: all
FAILED = frozenset({JobState.FAILED, JobState.CANCELLED})
RETIRED = frozenset({"proxies", "waveform"})  # types that older releases started; other stages do their work now
LATE = frozenset({"extra", "extra_join"})  # what a published asset gets in addition
LOWEST = -100  # their priority
# Those that make one set of renditions: none of them anew without the others.
TOGETHER = (frozenset({"copy", "encode", "join"}), LATE)


@dataclass(frozen=True, slots=True)
class Item:
    """A stage that a run has, or will have."""

    type: str
    number: int = 0
    weight: float = 1.0  # of the run's progress: about the seconds it takes
    after: tuple[str, ...] = ()  # types, all stages of which must have succeeded first


@dataclass(frozen=True, slots=True)
class Picture:
    """What the plan of a moving picture says of its stages."""

    spans: int = 1  # encoded apart from each other; one is encoded and joined in one go, none only joined
    extra: bool = False  # a second set of renditions, once the first is published


def agenda(media: Json | None, size: int, picture: Picture, wish: Wish = None) -> list[Item]:
    """The stages of a run, in the order in which they are started.

    `media` is what identifying found, and None until then; `size` the original's bytes. With a wish, identifying and the
    digest are only done when wished for.
    """
    first = [Item("identify"), Item("digest", weight=0.2 + size / 300e6)]
    if wish is not None:
        first = [item for item in first if item.type in wish]
        return [*first, *(item for item in _made(media or {}, size, picture) if item.type in wish)]
    if media is None:
        return first
    return [*first, *_made(media, size, picture)]


def wished(arguments: Json, outdated: Collection[str] = ()) -> Wish:
    """What a run is asked to make, by its job's arguments; `outdated` are the stages that an older recipe ran."""
    if "stages" not in arguments:
        return None
    wish = {*arguments["stages"], *(outdated if arguments.get("outdated") else ())}
    if "identify" in wish:
        wish.add("sound")  # the loudness is part of the facts that are made anew
    return frozenset(wish.union(*(one for one in TOGETHER if one & wish)))


def _made(media: Json, size: int, picture: Picture) -> list[Item]:
    """The stages that make renditions, for a file with these facts."""
    seconds = float(media.get("duration") or 1.0)
    sound = [Item("sound", weight=0.5 + seconds / 60, after=("identify",))] if media.get("audio") else []
    match media.get("kind"):
        case "image":
            return [Item("images", weight=2, after=("identify",))]
        case "audio":
            cover = [Item("poster", after=("identify",))] if media.get("cover") is not None else []
            return [*cover, *sound]
        case "video":
            return [
                Item("poster", weight=1, after=("identify",)),
                Item("copy", weight=0.5 + size / 100e6, after=("identify",)),
                Item("stills", weight=2, after=("identify",)),
                *sound,
                *_encoded(seconds * _share(media), picture),
            ]
        case _:
            return []


def _encoded(work: float, picture: Picture) -> list[Item]:
    each = 1 + work / max(1, picture.spans)
    items = [Item("encode", number, each, ("copy",)) for number in range(picture.spans)]
    if picture.spans != 1:
        items.append(Item("join", weight=1 + work / 20, after=("copy", "encode")))
    if picture.extra:
        items.append(Item("extra", weight=2 * work, after=("identify",)))
    return items


def _share(media: Json) -> float:
    """How long a second of this picture takes, when a second of 1080p30 takes half a second."""
    video = media.get("video") or {}
    pixels = float(video.get("width") or 1920) * float(video.get("height") or 1080)
    return 0.5 * pixels / (1920 * 1080) * float(video.get("fps") or 30) / 30


def due(items: Sequence[Item], stages: Sequence[Job]) -> list[Item]:
    """Those that may start now and have not been started. What comes after publishing is not among them."""
    there = {(stage.type, stage.number) for stage in stages}
    open_ = {item.type for item in items if not _done(item, stages)}
    return [
        item
        for item in items
        if item.type not in LATE and (item.type, item.number) not in there and not open_.intersection(item.after)
    ]


def late(items: Iterable[Item]) -> list[Item]:
    """What a published asset gets in addition."""
    return [item for item in items if item.type in LATE]


def late_join(stages: Iterable[Job]) -> bool:
    """Whether all spans of what a published asset gets in addition are there, and now become one."""
    spans = [stage for stage in stages if stage.type == "extra"]
    return len(spans) > 1 and all(stage.state is JobState.SUCCEEDED for stage in spans)


def complete(items: Sequence[Item], stages: Sequence[Job]) -> bool:
    """Whether all has succeeded that must have before anything is published."""
    return all(_done(item, stages) for item in items if item.type not in LATE)


def lost(stages: Iterable[Job]) -> Job | None:
    """A stage that ended badly, and so ends its run."""
    return next((stage for stage in stages if stage.state in FAILED and stage.type not in LATE), None)


def weight(items: Iterable[Item], media: Json | None, size: int) -> float:
    """Of the whole run, as far as publishing goes; guessed by the original's bytes while nothing else is known of it."""
    known = sum(item.weight for item in items if item.type not in LATE)
    return known if media is not None else known + 5 + size / 2e6


def _done(item: Item, stages: Sequence[Job]) -> bool:
    return any(
        (stage.type, stage.number, stage.state) == (item.type, item.number, JobState.SUCCEEDED) for stage in stages
    )
