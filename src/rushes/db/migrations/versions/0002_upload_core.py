"""The upload core: unknown sizes, staged parts and slices, tenants' limits, what stores enforce, what sweeps reclaimed."""

from alembic import op

revision = "0002"
down_revision = "0001"

UPLOADS = """
ALTER TABLE uploads
    ADD size_known boolean NOT NULL DEFAULT true,
    ADD layout text NOT NULL DEFAULT 'multipart' CHECK (layout IN ('multipart', 'staged')),
    ADD declared jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(declared) = 'object'),
    ADD idle_seconds bigint NOT NULL DEFAULT 1209600 CHECK (idle_seconds > 0),
    ADD abandoned_at timestamptz,
    ADD warned_at timestamptz,
    ADD request_digest text,
    ADD verified_bytes bigint CHECK (verified_bytes BETWEEN 0 AND size),
    ADD CHECK (size_known OR state IN ('initiated', 'uploading', 'rejected', 'aborted', 'expired'));
UPDATE uploads SET declared = jsonb_build_object('crc64nvme', declared_checksum) WHERE declared_checksum IS NOT NULL;
ALTER TABLE uploads DROP COLUMN declared_checksum;
ALTER TABLE uploads ADD CHECK (checksum_algorithm IN ('crc64nvme', 'crc32c', 'sha256', 'md5'));
CREATE INDEX uploads_progress ON uploads (progress_at) WHERE state IN ('initiated', 'uploading');
"""

TITLES = """
ALTER TABLE titles RENAME project TO project_id;
"""

PARTS = """
ALTER TABLE parts
    ADD proof text NOT NULL DEFAULT 'client' CHECK (proof IN ('client', 'server')),
    ADD way text CHECK (way IN ('direct', 'relayed', 'found')),
    ADD copied_etag text,
    ADD copier uuid,
    ADD copier_since timestamptz,
    ADD recopied int NOT NULL DEFAULT 0;
UPDATE parts SET way = 'direct' WHERE held_at IS NOT NULL;
ALTER TABLE parts
    ADD CHECK ((way IS NULL) = (held_at IS NULL)),
    ADD CHECK (copied_etag IS NULL OR held_at IS NOT NULL),
    ADD CHECK ((copier IS NULL) = (copier_since IS NULL));

CREATE TABLE slices (
    upload_id uuid NOT NULL,
    number int NOT NULL,
    checksum text NOT NULL,
    total bigint NOT NULL,
    start bigint NOT NULL CHECK (start >= 0),
    length bigint NOT NULL CHECK (length > 0 AND start + length <= total),
    crc text NOT NULL,
    bucket text NOT NULL,
    key text NOT NULL UNIQUE,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (upload_id, number, start),
    FOREIGN KEY (upload_id) REFERENCES uploads (id) ON DELETE CASCADE
);
CREATE TABLE assemblies (
    upload_id uuid NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    number int NOT NULL,
    assembler uuid NOT NULL,
    since timestamptz NOT NULL,
    PRIMARY KEY (upload_id, number)
);
"""

TENANTS = """
CREATE TABLE tenants (
    tenant text PRIMARY KEY,
    plans jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(plans) = 'object'),
    stored_bytes bigint CHECK (stored_bytes >= 0),
    month_bytes bigint CHECK (month_bytes >= 0),
    open_uploads int CHECK (open_uploads >= 0),
    types text[] NOT NULL DEFAULT '{video,audio,image}',
    updated_at timestamptz NOT NULL
);

CREATE TABLE tenant_quotas (
    tenant text PRIMARY KEY,
    stored bigint NOT NULL DEFAULT 0 CHECK (stored >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    open_uploads int NOT NULL DEFAULT 0 CHECK (open_uploads >= 0),
    month date,
    month_bytes bigint NOT NULL DEFAULT 0 CHECK (month_bytes >= 0)
);
ALTER TABLE quotas
    ADD month date,
    ADD month_bytes bigint NOT NULL DEFAULT 0 CHECK (month_bytes >= 0);
-- Uploads begun this month count as if they had been charged to it: a release gives back what was charged.
UPDATE quotas SET month = date_trunc('month', now() AT TIME ZONE 'UTC'), month_bytes = COALESCE((
    SELECT sum(size) FROM uploads WHERE uploads.tenant = quotas.tenant AND uploads.creator = quotas.creator
    AND created_at >= date_trunc('month', now() AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'
    AND state IN ('initiated', 'uploading', 'finalizing', 'ingested')), 0);
INSERT INTO tenant_quotas (tenant, stored, reserved, open_uploads, month, month_bytes)
    SELECT tenant, sum(stored), sum(reserved), sum(open_uploads), max(month), sum(month_bytes)
    FROM quotas GROUP BY tenant;
"""

OPERATIONS = """
CREATE TABLE stores (
    place text PRIMARY KEY,
    capabilities jsonb,
    probed_at timestamptz,
    claimed_at timestamptz,
    CHECK ((capabilities IS NULL) = (probed_at IS NULL))
);

CREATE INDEX events_feed ON events (xid, id);
CREATE INDEX events_creator ON events (tenant, creator, xid, id);
"""

SWEEPS = """
CREATE TABLE sweeps (
    id uuid PRIMARY KEY,
    report jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(report) = 'object'),
    started_at timestamptz NOT NULL,
    finished_at timestamptz
);
CREATE TABLE installation (
    single boolean PRIMARY KEY DEFAULT true CHECK (single),
    id uuid NOT NULL DEFAULT gen_random_uuid()
);
INSERT INTO installation DEFAULT VALUES;
ALTER TABLE uploads ADD cleared_at timestamptz;
ALTER TABLE assets ADD cleared_at timestamptz, ADD swept_epoch bigint NOT NULL DEFAULT 0;
CREATE INDEX uploads_uncleared ON uploads (id)
    WHERE cleared_at IS NULL AND state IN ('rejected', 'failed', 'aborted', 'expired');
CREATE INDEX assets_uncleared ON assets (id) WHERE cleared_at IS NULL AND state = 'deleted';
CREATE INDEX assets_unswept ON assets (id) WHERE swept_epoch < epoch AND state <> 'deleted';
"""


def upgrade() -> None:
    for section in (UPLOADS, TITLES, PARTS, TENANTS, OPERATIONS, SWEEPS):
        op.execute(section)
