"""rushes: media ingest straight into S3-compatible object storage."""

__version__ = "0.1.0"
