"""Complete assets: several jobs of a type in a run, what a job is to make, segments of CMAF files, recipes."""

from alembic import op

revision = "0003"
down_revision = "0002"

JOBS = """
ALTER TABLE jobs
    ADD number int NOT NULL DEFAULT 0 CHECK (number >= 0),
    ADD arguments jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(arguments) = 'object'),
    ADD left_seconds double precision CHECK (left_seconds >= 0),
    DROP CONSTRAINT jobs_parent_id_type_key,
    ADD UNIQUE (parent_id, type, number);
"""

RENDITIONS = """
ALTER TABLE renditions ADD recipe int NOT NULL DEFAULT 0 CHECK (recipe >= 0);
CREATE TABLE segments (
    rendition_id uuid PRIMARY KEY REFERENCES renditions (id) ON DELETE CASCADE,
    init bigint NOT NULL CHECK (init > 0),
    lengths bigint[] NOT NULL CHECK (cardinality(lengths) > 0),
    seconds double precision[] NOT NULL CHECK (cardinality(seconds) = cardinality(lengths))
);
"""


def upgrade() -> None:
    for part in (JOBS, RENDITIONS):
        op.execute(part)
