"""A database of the first release, with what people had begun: the sums it gets are those of its rows."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
import pytest
from alembic import command

from rushes.config import Settings
from rushes.db import migrate
from rushes.db.migrate import _config, _engine
from rushes.model import new_id
from tests.pipeline.equipment import empty_database

TITLE = "INSERT INTO titles (id, tenant, creator, title, created_at, updated_at) VALUES (%s, %s, %s, 't', now(), now())"
ASSET = """INSERT INTO assets (id, tenant, creator, title_id, upload_id, state, filename, content_type, size, bucket, key,
    checksum_algorithm, created_at, updated_at)
    VALUES (%s, %s, %s, %s, %s, %s, 'a.mov', 'video/mp4', %s, 'b', %s, 'crc64nvme', now(), now())"""
UPLOAD = """INSERT INTO uploads (id, tenant, creator, asset_id, title_id, state, filename, size, content_type, part_size,
    part_count, checksum_algorithm, bucket, key, storage_upload_id, upload_origin, held_bytes, created_at, updated_at,
    progress_at, expires_at, declared_checksum)
    VALUES (%s, %s, %s, %s, %s, %s, 'a.mov', %s, 'video/mp4', %s, 1, 'crc64nvme', 'b', %s, %s, 'api', %s, %s, now(), now(),
    now(), 'AAAAAAAAAAA=')"""
QUOTA = "INSERT INTO quotas (tenant, creator, stored, reserved, open_uploads) VALUES (%s, %s, %s, %s, %s)"


@pytest.fixture
def first_release(settings: Settings) -> Iterator[str]:
    """The address of a database with the schema of revision 0001."""
    with empty_database(settings) as found:
        assert found.database_url is not None
        url = found.database_url.get_secret_value()
        engine = _engine(url)
        with engine.begin() as connection:
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "0001")
        engine.dispose()
        yield url


def begun(conn: psycopg.Connection, creator: str, state: str, size: int, at: datetime, asset: str = "pending") -> UUID:
    title, upload, asset_id = new_id(), new_id(), new_id()
    conn.execute(TITLE, [title, "old", creator])
    conn.execute(ASSET, [asset_id, "old", creator, title, upload, asset, size, str(asset_id)])
    held = size if state == "ingested" else 0
    place = (str(asset_id), str(upload), held, at)
    conn.execute(UPLOAD, [upload, "old", creator, asset_id, title, state, size, size, *place])
    return upload


def test_sums_of_older_data_are_there(first_release: str) -> None:
    now = datetime.now(UTC)
    earlier = now.replace(day=1) - timedelta(days=1)
    with psycopg.connect(first_release) as conn:
        begun(conn, "ann", "uploading", 7, now)
        begun(conn, "ann", "ingested", 50, now, "processing")
        begun(conn, "ann", "ingested", 300, earlier, "processing")
        begun(conn, "ann", "ingested", 1_000, now, "deleted")
        begun(conn, "ann", "aborted", 20_000, now, "deleted")
        begun(conn, "ann", "uploading", 400_000, earlier)
        conn.execute(QUOTA, ["old", "ann", 350, 400_007, 2])
        begun(conn, "bob", "initiated", 5_000_000, now)
        conn.execute(QUOTA, ["old", "bob", 0, 5_000_000, 1])
        conn.execute(QUOTA, ["older", "zoe", 0, 0, 0])
    migrate(first_release)
    migrate(first_release)  # again does nothing
    month = now.date().replace(day=1)
    with psycopg.connect(first_release) as conn:
        kept = conn.execute("SELECT creator, stored, reserved, open_uploads, month, month_bytes FROM quotas ORDER BY 1")
        assert kept.fetchall() == [
            ("ann", 350, 400_007, 2, month, 1_057),
            ("bob", 0, 5_000_000, 1, month, 5_000_000),
            ("zoe", 0, 0, 0, month, 0),
        ]
        kept = conn.execute(
            "SELECT tenant, stored, reserved, open_uploads, month, month_bytes FROM tenant_quotas ORDER BY 1"
        )
        assert kept.fetchall() == [("old", 350, 5_400_007, 3, month, 5_001_057), ("older", 0, 0, 0, month, 0)]
        found = conn.execute("SELECT DISTINCT size_known, layout, idle_seconds, declared FROM uploads").fetchall()
        assert found == [(True, "multipart", 1_209_600, {"crc64nvme": "AAAAAAAAAAA="})]
