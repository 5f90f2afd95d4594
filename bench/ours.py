"""One upload of some files by our library, or by its engine alone; prints what it cost.

    python -m bench.ours client|engine '{"files": […], "api": …, …}'

`engine` sends without the checksums that grants demand: only a sink takes that. It shows what moving the bytes costs.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from rushes.client import Client, JobState
from rushes.client.source import LocalFile


def client(made: Client, job: dict[str, Any]) -> None:
    """One file by `upload`; several by `upload_many`, which writes them down first, as the command does."""
    if len(job["files"]) == 1:
        made.upload(job["files"][0])
        return
    outcomes = made.upload_many(job["files"])
    failed = [f"{outcome.path}: {outcome.error}" for outcome in outcomes if outcome.state is not JobState.DONE]
    if failed:
        raise SystemExit("\n".join(failed))


def engine(made: Client, job: dict[str, Any]) -> None:
    LocalFile.checksums = lambda self, *_: (0, "AAAAAAAAAAA=")  # type: ignore[method-assign]
    client(made, job)


def main() -> None:
    job = json.loads(sys.argv[2])
    with Client(job["api"], job["token"]) as made:
        wall, cpu = time.perf_counter(), time.process_time()
        {"client": client, "engine": engine}[sys.argv[1]](made, job)
        print(json.dumps({"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}))


if __name__ == "__main__":
    main()
