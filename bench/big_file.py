"""One big file through the whole stack: peak memory of every process, and whether the SHA-256 is right.

The file is a real clip followed by one `free` box that fills it up: every 8 bytes of it say where they are, so no block
equals another. Prints a table; see bench/RESULTS.md. Needs twice the size in disk space.

    python bench/big_file.py --gib 6
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import psutil

from rushes.config import Settings
from rushes.embedded import stack

ROOT = Path(__file__).parents[1]
BLOCK = 8 * 1024 * 1024


def write_big_clip(path: Path, size: int) -> str:
    """Write the file; returns its SHA-256."""
    subprocess.run([sys.executable, ROOT / "scripts" / "make_clip.py", path, "--seconds", "4"], check=True)
    digest = hashlib.sha256(path.read_bytes())
    with path.open("ab") as file:
        left = size - file.tell()
        head = (1).to_bytes(4, "big") + b"free" + left.to_bytes(8, "big")  # ISO/IEC 14496-12: a box with a 64-bit size
        file.write(head)
        digest.update(head)
        while (at := file.tell()) < size:
            length = min(BLOCK, size - at)
            numbers = np.arange(at // 8, at // 8 + length // 8 + 1, dtype="<u8") * np.uint64(0x9E3779B97F4A7C15)
            block = numbers.tobytes()[:length]
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


class Watch(threading.Thread):
    """Samples the resident memory of process trees, by role."""

    def __init__(self, roots: dict[str, int]) -> None:
        super().__init__(daemon=True)
        self.roots = roots
        self.peaks: dict[str, int] = defaultdict(int)
        self.first: dict[str, int] = {}
        self.done = threading.Event()

    def run(self) -> None:
        while not self.done.wait(0.25):
            sums: dict[str, int] = defaultdict(int)
            for name, pid in list(self.roots.items()):  # roles are added meanwhile
                try:
                    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
                except psutil.Error:
                    continue
                for process in family:
                    self._add(sums, name, process)
            for role, size in sums.items():
                self.peaks[role] = max(self.peaks[role], size)
                self.first.setdefault(role, size)

    @staticmethod
    def _add(sums: dict[str, int], name: str, process: psutil.Process) -> None:
        try:
            line = process.cmdline()
            info = process.memory_full_info()
        except psutil.Error:
            return
        role = name
        if name == "stack":
            last = " ".join(line)
            role = next(
                (r for r in ("worker", "api", "weed", "ffmpeg") if f"rushes {r}" in last or f"/{r}" in last), "rest"
            )
            role = "postgresql" if "postgres" in last and role == "rest" else role
        sums[role] += info.pss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=6)
    size = int(parser.parse_args().gib * 1024**3)
    with tempfile.TemporaryDirectory(prefix="rushes-big-") as name:
        path = Path(name) / "big.mp4"
        sha256 = write_big_clip(path, size)
        settings = Settings(data_dir=Path(name) / "stack", api_port=18420)
        with stack.background(settings) as running:
            watch = Watch({"stack": running.pid})
            watch.start()
            time.sleep(1)
            began = time.monotonic()
            env = {"RUSHES_DATA_DIR": str(settings.data_dir), "PATH": "/usr/bin:/bin", "HOME": name}
            client = subprocess.Popen(
                [sys.executable, "-m", "rushes", "ingest", "--json", path], env=env, stdout=subprocess.PIPE, cwd=name
            )
            watch.roots["client"] = client.pid
            output, _ = client.communicate()
            seconds = time.monotonic() - began
            watch.done.set()
            watch.join()
    asset = json.loads(output)["asset"]
    print(f"{size / 1024**3:g} GiB, published after {seconds:.0f} s, status {asset['status']}")
    print(f"SHA-256 {'right' if asset['sha256'] == sha256 else 'WRONG'}: {asset['sha256']}")
    print("| process | at the start, MiB | peak, MiB |\n|---|---|---|")
    for role in sorted(watch.peaks):
        print(f"| {role} | {watch.first[role] / 1024**2:.0f} | {watch.peaks[role] / 1024**2:.0f} |")
    if asset["sha256"] != sha256:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
