"""What the tables themselves see to: nothing impossible can be written, and a catalogue is found by indexes."""

from __future__ import annotations

from datetime import date

import psycopg
import pytest
from psycopg import errors

from rushes.config import Settings
from rushes.db import titles
from rushes.db.titles import TitleFilter
from tests.ingest.equipment import TWO_PARTS, Desk, open_desk, some_bytes
from tests.pipeline.equipment import database_apart

DATA = some_bytes(TWO_PARTS)


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("UPDATE uploads SET state = 'flying' WHERE id = %(id)s", errors.CheckViolation),
        ("UPDATE uploads SET state = 'ingested' WHERE id = %(id)s", errors.CheckViolation),
        ("UPDATE uploads SET storage_upload_id = NULL WHERE id = %(id)s", errors.CheckViolation),
        ("UPDATE uploads SET storage_upload_id = %(others)s WHERE id = %(id)s", errors.UniqueViolation),
        ("UPDATE uploads SET held_bytes = size + 1 WHERE id = %(id)s", errors.CheckViolation),
        ("UPDATE uploads SET held_parts = part_count + 1 WHERE id = %(id)s", errors.CheckViolation),
        ("UPDATE uploads SET size = 0 WHERE id = %(id)s", errors.CheckViolation),
        ("UPDATE uploads SET part_count = part_count + 1 WHERE id = %(id)s", errors.CheckViolation),
        ("UPDATE uploads SET asset_id = (SELECT asset_id FROM uploads WHERE id = %(other)s) WHERE id = %(id)s",
         errors.UniqueViolation),
        ("INSERT INTO parts SELECT * FROM parts WHERE upload_id = %(id)s", errors.UniqueViolation),
        ("UPDATE parts SET number = 0 WHERE upload_id = %(id)s", errors.CheckViolation),
        ("UPDATE parts SET number = 10000 WHERE upload_id = %(id)s", errors.CheckViolation),
        ("UPDATE parts SET etag = 'x' WHERE upload_id = %(id)s", errors.CheckViolation),
        ("UPDATE assets SET state = 'published' WHERE upload_id = %(id)s", errors.CheckViolation),
        ("UPDATE assets SET key = (SELECT key FROM uploads WHERE id = %(other)s) WHERE upload_id = %(id)s",
         errors.UniqueViolation),
        ("UPDATE quotas SET reserved = reserved - %(much)s WHERE tenant = %(tenant)s", errors.CheckViolation),
        ("UPDATE tenant_quotas SET stored = -1 WHERE tenant = %(tenant)s", errors.CheckViolation),
    ],
)  # fmt: skip
async def test_what_cannot_be_cannot_be_written(desk: Desk, query: str, error: type[psycopg.Error]) -> None:
    ann = desk.person()
    one, other = await ann.begin(len(DATA)), await ann.begin(len(DATA))
    for upload in (one, other):
        await ann.grants(upload, DATA)
    _, _, others = await desk.in_storage(other)
    ids = {"id": one["upload_id"], "other": other["upload_id"], "others": others}
    with pytest.raises(error):
        await desk.sql(query, **ids, much=10**15, tenant=ann.who.tenant)


async def test_sizes_have_64_bits(desk: Desk) -> None:
    columns = await desk.sql(
        """SELECT table_name, column_name, data_type FROM information_schema.columns
        WHERE table_schema = 'public' AND column_name ~ '(^|_)(size|bytes|stored|reserved|total|start|length)$'"""
    )
    assert len(columns) > 15
    assert {(table, name) for table, name, type_ in columns if type_ != "bigint"} == set()


INDEXES = {
    "titles_text": TitleFilter(text="midnight"),
    "titles_genre": TitleFilter(genre="drama"),
    "titles_release_date": TitleFilter(released_from=date(2026, 1, 1), released_to=date(2026, 2, 1)),
    "titles_project": TitleFilter(project_id="p"),
    "titles_tags": TitleFilter(tag="night"),
    "titles_metadata": TitleFilter(metadata={"camera": {"make": "A"}}),
    "titles_creator": TitleFilter(creator="ann"),
    "titles_page": TitleFilter(),
}


async def test_every_way_to_search_a_catalogue_has_an_index(settings: Settings) -> None:
    """The real query, with no other index there, and no other plan allowed."""
    with database_apart(settings) as apart:
        async with open_desk(apart) as desk:
            who = desk.person().who
            for name, wanted in INDEXES.items():
                async with desk.ctx.db.transaction() as conn:
                    found = await conn.execute(
                        "SELECT indexname FROM pg_indexes WHERE tablename = 'titles' AND indexname LIKE 'titles\\_%'"
                    )
                    names = {str(row[0]) for row in await found.fetchall()} - {"titles_pkey"}
                    assert name in names
                    for other in names - {name}:
                        await conn.execute(f"DROP INDEX {other}".encode())
                    await conn.execute("SET LOCAL enable_seqscan = off")
                    await conn.execute("SET LOCAL enable_indexscan = off")  # the primary key could serve the order
                    await titles.page(conn, who, wanted, None, 10)
                    scans = await conn.execute("SELECT pg_stat_get_xact_numscans(%s::regclass)", [name])
                    assert await scans.fetchone() not in {None, (0,)}, name
                    raise psycopg.Rollback
