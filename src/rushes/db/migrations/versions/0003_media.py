"""Complete assets: several jobs of a type in a run and what each made, dead letters, segments of CMAF files, recipes."""

from alembic import op

revision = "0003"
down_revision = "0002"

JOBS = """
ALTER TABLE jobs
    ADD number int NOT NULL DEFAULT 0 CHECK (number >= 0),
    ADD arguments jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(arguments) = 'object'),
    ADD left_seconds double precision CHECK (left_seconds >= 0),
    ADD weight real NOT NULL DEFAULT 1 CHECK (weight >= 0),
    ADD result jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(result) = 'object'),
    ADD dead_letter boolean NOT NULL DEFAULT false,
    DROP CONSTRAINT jobs_parent_id_type_key,
    ADD UNIQUE (parent_id, type, number);
CREATE INDEX jobs_dead ON jobs (tenant, id DESC) WHERE dead_letter;
"""

RENDITIONS = """
ALTER TABLE renditions
    ADD stage text NOT NULL DEFAULT '',
    ADD recipe int NOT NULL DEFAULT 0 CHECK (recipe >= 0);
UPDATE renditions SET stage = CASE type
    WHEN 'proxy' THEN 'encode' WHEN 'waveform' THEN 'sound' WHEN 'waveform_image' THEN 'sound'
    WHEN 'poster' THEN 'poster' ELSE 'stills' END;
CREATE TABLE segments (
    rendition_id uuid PRIMARY KEY REFERENCES renditions (id) ON DELETE CASCADE,
    init bigint NOT NULL CHECK (init > 0),
    lengths bigint[] NOT NULL CHECK (cardinality(lengths) > 0),
    seconds double precision[] NOT NULL CHECK (cardinality(seconds) = cardinality(lengths)),
    playlist bytea
);
ALTER TABLE segments ALTER playlist SET STORAGE EXTERNAL;
"""

TENANTS = "ALTER TABLE tenants ADD formats jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(formats) = 'object')"


def upgrade() -> None:
    for part in (JOBS, RENDITIONS, TENANTS):
        op.execute(part)
