"""Programs that Debian packages: fetched by apt and unpacked in a directory of ours, nothing is installed on the machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.stores.served import Absent


class Failed(Exception):
    """A program that fetches something did not; what it said is for a person."""


def unpacked(directory: Path, *packages: str) -> Path:
    """The root of these packages and of what they need. Raises `Absent` where there is no apt, and `Failed`."""
    root = directory / "root"
    if (directory / "done").exists():
        return root
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise Absent(f"{packages[0]} comes as a Debian package, and this machine has no apt")
    fetched, lists = directory / "packages", directory / "lists"
    for place in (fetched, lists):
        (place / "partial").mkdir(parents=True, exist_ok=True)
    # Lists of its own, so that neither root nor an `apt-get update` of the machine's is needed.
    options = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={directory / 'cache'}"]
    options += ["-o", f"Dir::Cache::archives={fetched}", "-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]
    (directory / "cache").mkdir(exist_ok=True)
    run("apt-get", "update", "-qq", *options)
    run("apt-get", *options, "install", "--yes", "-qq", "--download-only", "--no-install-recommends", *packages)
    for package in fetched.glob("*.deb"):
        run("dpkg", "-x", str(package), str(root))
    shutil.rmtree(fetched)
    shutil.rmtree(lists)
    (directory / "done").touch()
    return root


def run(*command: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> None:
    """Run a program to its end. Raises `Failed`."""
    try:
        subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True, timeout=600)
    except subprocess.SubprocessError as error:
        said = getattr(error, "stderr", b"") or b""
        raise Failed(f"{command[0]} failed: {said.decode(errors='replace')[-1500:] or error}") from error
