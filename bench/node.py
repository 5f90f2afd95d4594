"""@uppy/companion from npm, for the benches that measure against it.

It is pinned by `bench/companion/package.json` and installed in the user's cache, once; the scripts beside that file run there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "companion"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rushes-bench-companion"
ABSENT = "node and npm are not on this machine: nothing is measured beside Companion."


def available() -> bool:
    return shutil.which("node") is not None and shutil.which("npm") is not None


def companion(script: str) -> list[str]:
    """The command that runs one of the scripts in `bench/companion`; installs Companion first where it is not there yet."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for file in SOURCE.iterdir():
        shutil.copyfile(file, CACHE / file.name)
    if not (CACHE / "node_modules" / "@uppy" / "companion").exists():
        subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=CACHE, check=True, stdout=subprocess.DEVNULL)
    return ["node", str(CACHE / script)]
