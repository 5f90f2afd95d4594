"""Queries on jobs. A run owns its job by (id, epoch): writes of a run that was replaced meet no row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from rushes.db.database import Conn, columns, fetch_all, fetch_one, row_of
from rushes.db.scope import scope_args
from rushes.model import JOB_MOVES, Job, JobFilter, JobState, Json, Principal, check_move

JOB = row_of(Job, state=JobState)
COLUMNS = columns(Job)
SCOPE = """tenant = %(tenant)s AND (%(sees_tenant)s OR creator = %(creator)s)
    AND ((%(token_title)s::uuid IS NULL AND %(token_upload)s::uuid IS NULL) OR asset_id IN (SELECT a.id FROM assets a
        WHERE (%(token_title)s::uuid IS NULL OR a.title_id = %(token_title)s)
        AND (%(token_upload)s::uuid IS NULL OR a.upload_id = %(token_upload)s)))"""
MAX_LOG_LINES = 200


async def insert(conn: Conn, row: Job) -> UUID:
    """Add the job, unless its parent has this one already, by type and number; returns the id of the one that is there."""
    names = COLUMNS.split(", ")
    values = {name: getattr(row, name) for name in names} | {
        "log": Jsonb(row.log),
        "arguments": Jsonb(row.arguments),
        "result": Jsonb(row.result),
        "problem": None,
    }
    places = ", ".join(f"%({name})s" for name in names)
    cursor = await conn.execute(
        f"""INSERT INTO jobs ({COLUMNS}) VALUES ({places})
        ON CONFLICT (parent_id, type, number) DO UPDATE SET type = EXCLUDED.type RETURNING id""".encode(),
        values,
    )
    found = await cursor.fetchone()
    assert found is not None, "inserted or there"
    return UUID(str(found[0]))


async def get(conn: Conn, who: Principal, job_id: UUID, *, lock: bool = False) -> Job | None:
    query = f"SELECT {COLUMNS} FROM jobs WHERE id = %(id)s AND {SCOPE}{_lock(lock)}"
    return await fetch_one(conn, JOB, query, {"id": job_id} | scope_args(who))


async def load(conn: Conn, job_id: UUID, *, lock: bool = False) -> Job | None:
    """For workflows, which act for the system: no scope."""
    return await fetch_one(conn, JOB, f"SELECT {COLUMNS} FROM jobs WHERE id = %(id)s{_lock(lock)}", {"id": job_id})


async def page(conn: Conn, who: Principal, wanted: JobFilter, before: UUID | None, limit: int) -> list[Job]:
    """The newest first."""
    named = {field.name: getattr(wanted, field.name) for field in fields(wanted)}
    given = {name: value for name, value in named.items() if value is not None}
    also = "".join(f" AND {name} = %({name})s" for name in given)  # names of our own
    query = f"""SELECT {COLUMNS} FROM jobs WHERE {SCOPE} AND (%(before)s::uuid IS NULL OR id < %(before)s){also}
        ORDER BY id DESC LIMIT %(limit)s"""
    return await fetch_all(conn, JOB, query, {"before": before, "limit": limit} | given | scope_args(who))


async def current(conn: Conn, asset_id: UUID) -> Job | None:
    """The job that a person waits for: the running one, else the one queued next."""
    query = f"""SELECT {COLUMNS} FROM jobs WHERE asset_id = %(id)s AND state IN ('running', 'queued')
        ORDER BY state DESC, parent_id IS NULL, started_at DESC NULLS LAST, id LIMIT 1"""
    return await fetch_one(conn, JOB, query, {"id": asset_id})


async def children(conn: Conn, job_id: UUID, *, lock: bool = False) -> list[Job]:
    query = f"SELECT {COLUMNS} FROM jobs WHERE parent_id = %(id)s ORDER BY id{_lock(lock)}"
    return await fetch_all(conn, JOB, query, {"id": job_id})


async def open_since(
    conn: Conn, before: datetime, after: UUID | None, limit: int, *, only: UUID | None = None
) -> list[Job]:
    """Jobs begun before a moment that somebody ought to work on, the oldest first, younger than `after`.

    A run is its asset's, and none of its stages is open: those go on by themselves, and the run with the last of them.
    """
    query = f"""SELECT {COLUMNS} FROM jobs WHERE state IN ('queued', 'running') AND created_at <= %(before)s
        AND (%(only)s::uuid IS NULL OR id = %(only)s) AND (%(after)s::uuid IS NULL OR id > %(after)s)
        AND (parent_id IS NOT NULL OR (
            EXISTS (SELECT FROM assets a WHERE a.id = asset_id AND a.job_id = jobs.id AND a.state = 'processing')
            AND NOT EXISTS (SELECT FROM jobs c WHERE c.parent_id = jobs.id AND c.state IN ('queued', 'running'))))
        ORDER BY id LIMIT %(limit)s"""
    args = {"before": before, "after": after, "limit": limit, "only": only}
    return await fetch_all(conn, JOB, query, args)


async def claim(conn: Conn, job_id: UUID, epoch: int, now: datetime) -> Job | None:
    """Make the run with this epoch the job's owner; None when the job is over and nobody may run it."""
    query = f"""UPDATE jobs SET epoch = %(epoch)s, state = 'running', started_at = COALESCE(started_at, %(now)s),
        retries = retries + (state = 'running')::int, deaths = deaths + (state = 'running')::int
        WHERE id = %(id)s AND state IN ('queued', 'running') AND epoch < %(epoch)s RETURNING {COLUMNS}"""
    return await fetch_one(conn, JOB, query, {"id": job_id, "epoch": epoch, "now": now})


async def owned(conn: Conn, job_id: UUID, epoch: int) -> Job | None:
    """The job, locked, if the run with this epoch still owns it."""
    query = (
        f"SELECT {COLUMNS} FROM jobs WHERE id = %(id)s AND epoch = %(epoch)s AND state = 'running' FOR NO KEY UPDATE"
    )
    return await fetch_one(conn, JOB, query, {"id": job_id, "epoch": epoch})


async def put_back(conn: Conn, job_id: UUID, epoch: int) -> bool:
    """Queue a running job again, without counting a retry, if the run with this epoch still owns it; whether it did."""
    cursor = await conn.execute(
        "UPDATE jobs SET state = 'queued', message = 'waiting for a worker' WHERE id = %s AND epoch = %s AND state = 'running'",
        [job_id, epoch],
    )
    return cursor.rowcount == 1


async def advance(
    conn: Conn, job_id: UUID, epoch: int, progress: float, message: str, left_seconds: float | None
) -> bool:
    """Show progress (never backwards); whether the run still owns the job."""
    cursor = await conn.execute(
        """UPDATE jobs SET progress = GREATEST(progress, %(progress)s), message = %(message)s, left_seconds = %(left)s
        WHERE id = %(id)s AND epoch = %(epoch)s AND state = 'running'""",
        {
            "id": job_id,
            "epoch": epoch,
            "progress": min(max(progress, 0.0), 1.0),
            "message": message,
            "left": left_seconds,
        },
    )
    return cursor.rowcount == 1


async def weigh(conn: Conn, run_id: UUID, weight: float) -> None:
    """Set what a run's stages weigh together, those too that have not been started."""
    await conn.execute("UPDATE jobs SET weight = %s WHERE id = %s", [weight, run_id])


async def sum_up(conn: Conn, run_id: UUID, now: datetime) -> None:
    """Show a run's progress, which is its stages', weighted; and the time left at the rate so far."""
    await conn.execute(
        """UPDATE jobs r SET progress = GREATEST(r.progress, LEAST(0.99, made.done / r.weight)), message = 'processing',
            left_seconds = CASE WHEN made.done > 0.02 * r.weight AND r.started_at < %(now)s THEN
                GREATEST(r.weight - made.done, 0) * extract(epoch FROM %(now)s - r.started_at) / made.done END
        FROM (SELECT COALESCE(sum(weight * progress), 0) AS done FROM jobs
            WHERE parent_id = %(id)s AND type NOT IN ('extra', 'extra_join')) made
        WHERE r.id = %(id)s AND r.state = 'running' AND r.weight > 0""",
        {"id": run_id, "now": now},
    )


async def log(conn: Conn, job_id: UUID, text: str, now: datetime, *, retry: bool = False) -> None:
    """Append a line to the job's log; the oldest lines go first when it grows too long."""
    await conn.execute(
        """UPDATE jobs SET log = (CASE WHEN jsonb_array_length(log) >= %(most)s THEN log - 0 ELSE log END) || %(line)s,
        retries = retries + %(retry)s WHERE id = %(id)s""",
        {
            "id": job_id,
            "line": Jsonb([{"at": now.isoformat(), "text": text}]),
            "most": MAX_LOG_LINES,
            "retry": int(retry),
        },
    )


async def take_over(conn: Conn, old_run: UUID, new_run: UUID) -> None:
    """Make the stages of a run that succeeded those of another."""
    await conn.execute(
        "UPDATE jobs SET parent_id = %s WHERE parent_id = %s AND state = 'succeeded'", [new_run, old_run]
    )


async def run_before(conn: Conn, run: Job) -> UUID | None:
    """The asset's run before this one."""
    cursor = await conn.execute(
        "SELECT id FROM jobs WHERE asset_id = %s AND parent_id IS NULL AND id < %s ORDER BY id DESC LIMIT 1",
        [run.asset_id, run.id],
    )
    row = await cursor.fetchone()
    return None if row is None else UUID(str(row[0]))


async def set_result(conn: Conn, job_id: UUID, result: Json) -> None:
    """Record what became of a job: what it made, by which recipe, and what later stages go on from."""
    await conn.execute("UPDATE jobs SET result = %s WHERE id = %s", [Jsonb(result), job_id])


async def set_priority(conn: Conn, job_ids: Sequence[UUID], priority: int) -> None:
    await conn.execute("UPDATE jobs SET priority = %s WHERE id = ANY(%s)", [priority, list(job_ids)])


async def leave_dead_letters(conn: Conn, asset_id: UUID) -> None:
    """An asset that is processed anew waits for nobody."""
    await conn.execute("UPDATE jobs SET dead_letter = false WHERE asset_id = %s AND dead_letter", [asset_id])


async def finish(
    conn: Conn,
    job: Job,
    new: JobState,
    now: datetime,
    message: str,
    problem: Json | None = None,
    *,
    dead_letter: bool = False,
) -> None:
    """End a locked job. Raises `Conflict` for an illegal move."""
    check_move(JOB_MOVES, "job", job.state, new)
    await conn.execute(
        """UPDATE jobs SET state = %(new)s, finished_at = %(now)s, message = %(message)s, problem = %(problem)s,
        left_seconds = NULL,
        dead_letter = %(dead)s, progress = CASE WHEN %(new)s = 'succeeded' THEN 1 ELSE progress END WHERE id = %(id)s""",
        {
            "id": job.id,
            "new": new,
            "now": now,
            "message": message,
            "problem": None if problem is None else Jsonb(problem),
            "dead": dead_letter,
        },
    )


def _lock(lock: bool) -> str:
    return " FOR NO KEY UPDATE" if lock else ""
