"""Log lines for people (`text`) or a collector (`json`), one event a line whatever a client put into it."""

from __future__ import annotations

import json
import logging
import logging.config
from datetime import UTC, datetime
from typing import Literal

PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
QUIET = ("botocore", "aiobotocore", "alembic", "asyncio", "httpx", "httpcore", "dbos", "psycopg")
CALM = 10.0  # seconds


class Line(logging.Formatter):
    """One line: control characters are escaped, so that user text cannot forge another."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        lines = text.split("\n") if record.exc_info else [text]
        return "\n".join(escaped(line) for line in lines)


class Calm(logging.Filter):
    """Of a library's repeated complaint (a server that is away) one line every CALM seconds is enough."""

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[tuple[str, int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] not in QUIET:
            return True
        kind = (record.name, record.levelno, str(record.msg)[:40])
        due = record.created - self._last.get(kind, 0) >= CALM
        if due:
            self._last[kind] = record.created
        return due


class JsonLine(logging.Formatter):
    """One JSON object a line; what is passed as `extra` becomes fields."""

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        fields |= {name: value for name, value in vars(record).items() if name not in PLAIN}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, default=str)


def escaped(text: str) -> str:
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def configure_logs(level: str, form: Literal["text", "json"]) -> None:
    """Set this process's logging up; libraries speak from `warning` on."""
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {
                "text": {"()": Line, "fmt": "%(asctime)s %(levelname)s %(name)s %(message)s"},
                "json": {"()": JsonLine},
            },
            "filters": {"calm": {"()": Calm}},
            "handlers": {"out": {"class": "logging.StreamHandler", "formatter": form, "filters": ["calm"]}},
            "root": {"level": level.upper(), "handlers": ["out"]},
            "loggers": {name: {"level": "WARNING"} for name in QUIET},
        }
    )
