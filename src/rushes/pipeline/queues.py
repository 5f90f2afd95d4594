"""Where each workflow waits. Parents and children never share a queue: a parent holds its place while its children run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue. `per_worker` is how many of its workflows one worker runs at once; None takes the worker's job limit.

    An idle worker looks every `look_seconds`: often where a person waits, seldom where nobody does, since each look is a
    transaction.
    """

    name: str
    per_worker: int | None
    by_tenant: bool = False  # partitioned by tenant, so that one tenant's thousand files do not hide another's one
    altogether: int | None = None  # how many run at once on all workers
    look_seconds: float = 0.1


FINALIZE = QueueSpec("finalize", 32)
VERIFY = QueueSpec("verify", None, by_tenant=True, look_seconds=0.25)
PROCESS = QueueSpec("process", 64)
STAGE = QueueSpec("stage", None, by_tenant=True)
COPY = QueueSpec(
    "copy", 4, by_tenant=True, look_seconds=0.25
)  # storage does the work; more at once made a local store slower
CLEAN = QueueSpec("clean", 8, look_seconds=1)
SWEEP = QueueSpec("sweep", 1, altogether=1, look_seconds=1)
QUEUES = (FINALIZE, VERIFY, PROCESS, STAGE, COPY, CLEAN, SWEEP)

QUEUE_OF = {
    "finalize": FINALIZE,
    "verify": VERIFY,
    "process": PROCESS,
    "stage": STAGE,
    "copy": COPY,
    "discard": CLEAN,
    "remove": CLEAN,
    "unstage": CLEAN,
    "sweep": SWEEP,
}


def engine_priority(priority: int) -> int:
    """Our priority (-100 to 100, higher is earlier) as the engine counts it (1 is the earliest)."""
    return 1_000 - priority
