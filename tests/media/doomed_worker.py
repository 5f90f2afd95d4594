"""A worker that is killed while its tool waits for a source that never answers."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

from rushes.media import sandbox as sandboxes
from rushes.media.identify import identify
from rushes.media.limits import Limits
from rushes.media.sandbox import Mode, run_tool


class Silent:
    """Says when it is asked, and never answers."""

    size = 1_000_000

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        print("running", flush=True)
        await asyncio.sleep(1000)
        yield b"x" * length if start else b""


async def main(mode: str, job_dir: Path) -> None:
    sandbox = await sandboxes.detect(cast("Mode", mode))
    if sandbox.tools:
        argv = [sandboxes.ffmpeg(), "-f", "wav", "-i", sandboxes.SOURCE_URL, "-f", "null", "-"]
        await run_tool(sandbox, argv, Silent(), job_dir, Limits(), print)
    else:
        await identify(Silent(), job_dir, sandbox)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[3])))
