"""A worker that is an ordinary user: makes proxies, and lets an intruder loose in its sandbox."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import cast

from rushes.media import sandbox as sandboxes
from rushes.media.identify import identify
from rushes.media.limits import Limits
from rushes.media.posters import make_poster
from rushes.media.sandbox import Mode, run_task
from rushes.media.source import FileSource
from rushes.media.video import make_video


async def main(mode: str, given: dict[str, object]) -> None:
    home = Path(__file__).parent
    job_dir = home / "job"
    job_dir.mkdir(mode=0o700)
    sandbox = await sandboxes.detect(cast("Mode", mode))
    source = FileSource(home / "turned.mov")
    info = await identify(source, job_dir, sandbox)
    outputs = await make_video(source, info, job_dir, sandbox) + await make_poster(source, info, job_dir, sandbox)
    given["worker"] = 1
    package = home / "tasks" / "deep"
    package.mkdir(parents=True)
    (home / "intruder.py").rename(package / "intruder.py")
    tried = await run_task(sandbox, "deep.intruder", given, None, job_dir, Limits(), paths=[package.parent])
    [size, *_] = [[o.width, o.height] for o in outputs if o.type == "hls_video"]
    said = {"user_namespace": sandbox.user_namespace, "size": size, "tried": tried.result}
    print(json.dumps(said))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
