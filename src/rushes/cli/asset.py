"""An asset, as a person reads it: what the file is, what was proven, what was made of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.text import Text

from rushes.cli import words
from rushes.cli.exits import one_line, printable
from rushes.model import Verification
from rushes.wire import AssetView, RenditionView

PROVEN = {
    Verification.END_TO_END: "end to end: storage holds exactly the bytes that were read here",
    Verification.STORAGE: "storage holds what it received",
}


def show(console: Console, asset: AssetView) -> None:
    console.print(Text(f"{one_line(asset.filename)} is {asset.status}", style="bold"), soft_wrap=True)
    for label, text in facts(asset):
        line = Text(f"  {label:<11} ", style="dim") + Text(printable(text), style="default")
        console.print(line, soft_wrap=True)
    for name, url in links(asset):
        console.print(Text(f"  {printable(name)}\n    {url}"), soft_wrap=True)  # a wrapped link does not work


def facts(asset: AssetView) -> Iterator[tuple[str, str]]:
    """What is known, as label and text."""
    yield "asset", str(asset.id)
    if asset.size is not None:
        yield from _media(asset.media or {}, asset.size)
    if asset.checksum.value:
        yield "checksum", f"{asset.checksum.algorithm} {asset.checksum.value}"
    if asset.sha256:
        yield "sha-256", asset.sha256
    if asset.verification:
        yield "verified", PROVEN[asset.verification]
    if asset.problem:
        yield "problem", asset.problem.message


def links(asset: AssetView) -> Iterator[tuple[str, str]]:
    """What can be fetched, and where."""
    if asset.original_url:
        yield "the original", asset.original_url
    for rendition in asset.renditions:
        yield _rendition(rendition), rendition.url


def _media(media: dict[str, Any], size: int) -> Iterator[tuple[str, str]]:
    container = media.get("container") or media.get("format") or "not identified"
    length = media.get("duration")
    rate = media.get("bit_rate")
    yield (
        "file",
        ", ".join(
            filter(
                None, (container, length and words.duration(length), words.size(size), rate and words.bit_rate(rate))
            )
        ),
    )
    if video := media.get("video"):
        yield "video", _video(video)
    for audio in media.get("audio") or ():
        hertz = f"{audio['sample_rate']} Hz" if audio.get("sample_rate") else ""
        rate = words.bit_rate(audio["bit_rate"]) if audio.get("bit_rate") else ""
        yield "audio", ", ".join(filter(None, (audio.get("codec"), audio.get("layout"), hertz, rate)))
    if image := media.get("image"):
        yield "image", f"{image.get('width')} x {image.get('height')}, {image.get('mode')}"


def _video(video: dict[str, Any]) -> str:
    codec = " ".join(filter(None, (video.get("codec"), video.get("profile"))))
    fps = f"{video['fps']:.6g} fps" if video.get("fps") else ""
    rate = words.bit_rate(video["bit_rate"]) if video.get("bit_rate") else ""
    return ", ".join(
        filter(None, (codec, f"{video.get('width')} x {video.get('height')}", fps, rate, video.get("hdr")))
    )


def _rendition(rendition: RenditionView) -> str:
    pixels = f"{rendition.width} x {rendition.height}" if rendition.width and rendition.height else ""
    length = words.duration(rendition.duration) if rendition.duration else ""
    what = ", ".join(filter(None, (rendition.type, pixels, length, words.size(rendition.size))))
    return f"{rendition.name} ({what})"
