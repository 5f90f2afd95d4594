"""`make corpus`: makes the corpus, looks at every file with everybody's eyes, sends all of it through the product, and writes
docs/corpus.md. `--facts` leaves the product out.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from pathlib import Path

from rushes.media import sandbox as sandboxes
from rushes.media.sandbox import Sandbox
from tests.corpus.clip import Clip
from tests.corpus.facts import comparable, differences, identified, unlike
from tests.corpus.made import corpus
from tests.corpus.readers import exiftool, mediainfo
from tests.corpus.renditions import rendition_rows
from tests.corpus.table import Found, page

PAGE = Path(__file__).parents[2] / "docs" / "corpus.md"
_AT_ONCE = 4


def main() -> int:
    """1 where something is not as it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus", description=__doc__)
    parser.add_argument("--facts", action="store_true", help="only what is identified")
    only = parser.parse_args().facts
    begun = time.monotonic()
    files = corpus()
    _say(f"{len(files)} files", begun)
    found = asyncio.run(_found(files))
    _say("identified and compared", begun)
    rows = None if only else rendition_rows({clip.name: path for clip, path in files.items()})
    PAGE.write_text(page(found, rows))
    _say(f"{PAGE} is written", begun)
    wrong = [
        one
        for file in found
        for one in (*file.wrong, *(u for some in file.unlike.values() for u in some if not u.reason))
    ]
    return 1 if wrong or any(row.wrong for row in rows or ()) else 0


async def _found(files: dict[Clip, Path]) -> list[Found]:
    sandbox = await sandboxes.detect()
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look(clip: Clip, path: Path) -> Found:
        async with gate:
            return await _look(clip, path, sandbox)

    return await asyncio.gather(*(look(clip, path) for clip, path in files.items()))


async def _look(clip: Clip, path: Path, sandbox: Sandbox) -> Found:
    info = await identified(path, sandbox)
    told = {"MediaInfo": await asyncio.to_thread(mediainfo, path), "ExifTool": await asyncio.to_thread(exiftool, path)}
    others = {name: unlike(clip, name, info, theirs) for name, theirs in told.items()}
    answered = {name: len(comparable(info, theirs)) for name, theirs in told.items()}
    return Found(clip, info["size"], info, differences(clip, info), answered, others)


def _say(what: str, begun: float) -> None:
    sys.stderr.write(f"{time.monotonic() - begun:6.0f} s  {what}\n")


if __name__ == "__main__":
    sys.exit(main())
