"""Other people's packages, fetched whole and by hash into `.corpus`. Nothing of them is kept in the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2] / ".corpus"
# The wheels of one Python on one machine, so that one hash holds for all: of most only the data are used.
_ONE = ("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--abi", "none",
        *(f"--platform={name}" for name in ("manylinux_2_28_x86_64", "manylinux_2_27_x86_64", "manylinux_2_24_x86_64",
                                            "manylinux2014_x86_64", "any")))  # fmt: skip


def installed(place: Path, wanted: Path) -> Path:
    """`place` with the packages that the requirements file `wanted` lists. Raises RuntimeError where there is no registry
    that has them.
    """
    stamp = place / wanted.name
    if stamp.exists() and stamp.read_bytes() == wanted.read_bytes():
        return place
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]
    pip += [*_ONE, "--only-binary=:all:", "--require-hashes", "--target", str(place), "--requirement", str(wanted)]
    ended = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=600)
    if ended.returncode:
        raise RuntimeError(f"pip failed: {ended.stderr[-2000:]}")
    stamp.write_bytes(wanted.read_bytes())
    return place
