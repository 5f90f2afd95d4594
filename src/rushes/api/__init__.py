"""The HTTP API: thin routers over the verbs of `rushes.ingest`."""

from rushes.api.app import create_app

__all__ = ["create_app"]
