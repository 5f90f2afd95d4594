"""Where each workflow waits, and how early it comes there.

Nothing waits inside a running workflow for another one: a run goes on when one of its stages ends. Stages wait in three
queues, so that what a person looks at first never waits for what takes long: the short ones, those that only read, and
those that encode. In each, a worker takes turns between tenants, at random, and keeps a place for another one than those
that fill the rest: one tenant's thousand files leave room for another's one at once.
"""

from __future__ import annotations

from dataclasses import dataclass

from rushes.ingest.context import Work


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue. `per_worker` is how many of its workflows one worker runs at once; None takes the worker's job limit.

    Of a queue that is `by_tenant` a worker runs so many for one tenant, and `for_others` more when others wait too.
    A worker that has no place for what waits looks again every `look_seconds`: often where a person waits, seldom where
    nobody does, since each look is a transaction or more.
    """

    name: str
    per_worker: int | None
    by_tenant: bool = False  # partitioned by tenant, so that one tenant's thousand files do not hide another's one
    for_others: int = 0
    altogether: int | None = None  # how many run at once on all workers
    look_seconds: float = 0.1


FINALIZE = QueueSpec("finalize", 32)
VERIFY = QueueSpec("verify", None, by_tenant=True, look_seconds=0.25)
PROCESS = QueueSpec("process", 64)
QUICK = QueueSpec("quick", 2, by_tenant=True, for_others=1)
READ = QueueSpec("read", 2, by_tenant=True, for_others=1)
STAGE = QueueSpec("stage", None, by_tenant=True, for_others=1, look_seconds=0.2)
COPY = QueueSpec(
    "copy", 4, by_tenant=True, look_seconds=0.25
)  # storage does the work; more at once made a local store slower
CLEAN = QueueSpec("clean", 8, look_seconds=1)
SWEEP = QueueSpec("sweep", 1, altogether=1, look_seconds=1)
QUEUES = (FINALIZE, VERIFY, PROCESS, QUICK, READ, STAGE, COPY, CLEAN, SWEEP)

QUEUE_OF = {
    "finalize": FINALIZE,
    "verify": VERIFY,
    "process": PROCESS,
    "stage": STAGE,
    "copy": COPY,
    "discard": CLEAN,
    "remove": CLEAN,
    "unstage": CLEAN,
    "tidy": CLEAN,
    "sweep": SWEEP,
}
QUEUE_OF_STAGE = {"identify": QUICK, "poster": QUICK, "copy": QUICK, "images": QUICK, "digest": READ}  # others: STAGE

# Of stages of equal priority: what is read as it comes first, what ends something that has begun before what begins.
ORDER = ("identify", "poster", "copy", "images", "stills", "digest", "join", "sound", "encode", "extra_join", "extra")


def queue_of(work: Work) -> QueueSpec:
    return QUEUE_OF_STAGE.get(work.stage, STAGE) if work.stage else QUEUE_OF[work.workflow]


def place_of(work: Work) -> int:
    """How early the engine takes it: 1 is the earliest. Our priority is -100 to 100, and higher is earlier."""
    rank = ORDER.index(work.stage) if work.stage in ORDER else 0
    return (1_000 - work.priority) * len(ORDER) + rank
