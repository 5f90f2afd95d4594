"""Logs (metrics and tracing come here too)."""

from rushes.telemetry.logs import configure_logs

__all__ = ["configure_logs"]
