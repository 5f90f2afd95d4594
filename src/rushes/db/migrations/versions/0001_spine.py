"""Titles, uploads with their ledger of parts, assets, renditions, jobs, quotas, events.

States are held by CHECK constraints, sizes are BIGINT, and what must be single is UNIQUE: a storage upload id, a part of
an upload, the asset of an upload, a rendition's name within a run.
"""

from alembic import op

revision = "0001"
down_revision = None

SCHEMA = """
CREATE EXTENSION IF NOT EXISTS pg_trgm;

CREATE TABLE titles (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    creator text NOT NULL,
    title text NOT NULL CHECK (title <> ''),
    description text NOT NULL DEFAULT '',
    genre text,
    tags text[] NOT NULL DEFAULT '{}',
    release_date date,
    project text,
    metadata jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(metadata) = 'object'),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    deleted_at timestamptz
);
CREATE INDEX titles_page ON titles (tenant, id DESC);
CREATE INDEX titles_creator ON titles (tenant, creator, id DESC);
CREATE INDEX titles_text ON titles USING gin (title gin_trgm_ops, description gin_trgm_ops);
CREATE INDEX titles_genre ON titles (tenant, genre, id DESC);
CREATE INDEX titles_release_date ON titles (tenant, release_date);
CREATE INDEX titles_project ON titles (tenant, project, id DESC);
CREATE INDEX titles_tags ON titles USING gin (tags);
CREATE INDEX titles_metadata ON titles USING gin (metadata jsonb_path_ops);

CREATE TABLE assets (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    creator text NOT NULL,
    title_id uuid NOT NULL REFERENCES titles (id),
    upload_id uuid NOT NULL UNIQUE,
    state text NOT NULL CHECK (state IN ('pending', 'processing', 'published', 'failed', 'quarantined', 'deleted')),
    kind text CHECK (kind IN ('video', 'audio', 'image')),
    filename text NOT NULL,
    content_type text NOT NULL,
    size bigint NOT NULL CHECK (size > 0),
    bucket text NOT NULL,
    key text NOT NULL,
    etag text,
    checksum_algorithm text NOT NULL,
    checksum text,
    sha256 text CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    verification text CHECK (verification IN ('end_to_end', 'storage')),
    epoch bigint NOT NULL DEFAULT 0,
    job_id uuid,
    published_job_id uuid,
    priority int NOT NULL DEFAULT 0,
    media jsonb,
    problem jsonb,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    published_at timestamptz,
    UNIQUE (bucket, key),
    CHECK (state <> 'published' OR (sha256 IS NOT NULL AND verification IS NOT NULL AND published_job_id IS NOT NULL))
);
CREATE INDEX assets_page ON assets (tenant, id DESC);
CREATE INDEX assets_creator ON assets (tenant, creator, id DESC);
CREATE INDEX assets_title ON assets (title_id);

CREATE TABLE uploads (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    creator text NOT NULL,
    asset_id uuid NOT NULL UNIQUE REFERENCES assets (id),
    title_id uuid NOT NULL REFERENCES titles (id),
    state text NOT NULL CHECK (state IN
        ('initiated', 'uploading', 'finalizing', 'ingested', 'rejected', 'failed', 'aborted', 'expired')),
    filename text NOT NULL,
    size bigint NOT NULL CHECK (size > 0),
    content_type text NOT NULL,
    part_size bigint NOT NULL CHECK (part_size BETWEEN 1 AND 5368709120),
    part_count int NOT NULL CHECK (part_count BETWEEN 1 AND 9999),
    checksum_algorithm text NOT NULL,
    bucket text NOT NULL,
    key text NOT NULL,
    storage_upload_id text UNIQUE,
    source text,
    upload_origin text NOT NULL,
    priority int NOT NULL DEFAULT 0,
    relative_path text,
    declared_checksum text,
    held_parts int NOT NULL DEFAULT 0 CHECK (held_parts BETWEEN 0 AND part_count),
    held_bytes bigint NOT NULL DEFAULT 0 CHECK (held_bytes BETWEEN 0 AND size),
    attempt int NOT NULL DEFAULT 0,
    problem jsonb,
    idempotency_key text,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    progress_at timestamptz NOT NULL,
    expires_at timestamptz NOT NULL,
    UNIQUE (tenant, creator, idempotency_key),
    CHECK (part_size * (part_count - 1) < size AND part_size * part_count >= size),
    CHECK (state IN ('initiated', 'rejected', 'aborted', 'expired') OR storage_upload_id IS NOT NULL),
    CHECK (state <> 'ingested' OR held_bytes = size)
);
CREATE INDEX uploads_page ON uploads (tenant, id DESC);
CREATE INDEX uploads_creator ON uploads (tenant, creator, id DESC);
CREATE INDEX uploads_open ON uploads (expires_at) WHERE state IN ('initiated', 'uploading', 'finalizing');
ALTER TABLE assets ADD CONSTRAINT assets_upload FOREIGN KEY (upload_id) REFERENCES uploads (id)
    DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE parts (
    upload_id uuid NOT NULL REFERENCES uploads (id) ON DELETE CASCADE,
    number int NOT NULL CHECK (number BETWEEN 1 AND 9999),
    size bigint NOT NULL CHECK (size > 0),
    checksum text NOT NULL,
    grants int NOT NULL CHECK (grants > 0),
    etag text,
    held_at timestamptz,
    PRIMARY KEY (upload_id, number),
    CHECK ((etag IS NULL) = (held_at IS NULL))
);

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    tenant text NOT NULL,
    creator text NOT NULL,
    asset_id uuid NOT NULL REFERENCES assets (id),
    parent_id uuid REFERENCES jobs (id),
    type text NOT NULL,
    state text NOT NULL CHECK (state IN ('queued', 'running', 'succeeded', 'failed', 'cancelled')),
    priority int NOT NULL DEFAULT 0,
    progress real NOT NULL DEFAULT 0 CHECK (progress BETWEEN 0 AND 1),
    message text NOT NULL DEFAULT '',
    log jsonb NOT NULL DEFAULT '[]',
    retries int NOT NULL DEFAULT 0,
    deaths int NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    problem jsonb,
    created_at timestamptz NOT NULL,
    started_at timestamptz,
    finished_at timestamptz,
    UNIQUE (parent_id, type)
);
CREATE INDEX jobs_page ON jobs (tenant, id DESC);
CREATE INDEX jobs_asset ON jobs (asset_id, id);
CREATE INDEX jobs_open ON jobs (state) WHERE state IN ('queued', 'running');

CREATE TABLE renditions (
    id uuid PRIMARY KEY,
    asset_id uuid NOT NULL REFERENCES assets (id),
    job_id uuid NOT NULL REFERENCES jobs (id),
    name text NOT NULL,
    type text NOT NULL,
    content_type text NOT NULL,
    bucket text NOT NULL,
    key text NOT NULL,
    size bigint NOT NULL CHECK (size >= 0),
    width int,
    height int,
    duration double precision,
    checksum text NOT NULL,
    extra jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    UNIQUE (job_id, name),
    UNIQUE (bucket, key)
);
CREATE INDEX renditions_asset ON renditions (asset_id);

CREATE TABLE quotas (
    tenant text NOT NULL,
    creator text NOT NULL,
    stored bigint NOT NULL DEFAULT 0 CHECK (stored >= 0),
    reserved bigint NOT NULL DEFAULT 0 CHECK (reserved >= 0),
    open_uploads int NOT NULL DEFAULT 0 CHECK (open_uploads >= 0),
    PRIMARY KEY (tenant, creator)
);

CREATE TABLE events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
    tenant text NOT NULL,
    creator text NOT NULL,
    type text NOT NULL,
    title_id uuid,
    upload_id uuid,
    asset_id uuid,
    data jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL
);
CREATE INDEX events_order ON events (tenant, xid, id);
CREATE INDEX events_upload ON events (upload_id, xid, id);
CREATE INDEX events_asset ON events (asset_id, xid, id);
"""


def upgrade() -> None:
    op.execute(SCHEMA)
