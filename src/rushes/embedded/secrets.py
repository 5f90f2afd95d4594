"""The secrets of a data directory: generated at the first start, kept in `secrets.json` (mode 0600), never changed."""

from __future__ import annotations

import json
import secrets
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from rushes.embedded.files import write_private
from rushes.errors import Misconfigured

NAME = "secrets.json"


@dataclass(frozen=True, repr=False)
class Secrets:
    """256 random bits each, in letters, digits, `-` and `_`; the access key is a name, not a secret."""

    database_password: str
    storage_access_key: str
    storage_secret_key: str
    token_secret: str
    volume_write_key: str
    volume_read_key: str
    filer_write_key: str
    filer_read_key: str

    def hidden(self) -> list[str]:
        """What a log must not show."""
        return [value for name, value in asdict(self).items() if name != "storage_access_key"]


def load(directory: Path) -> Secrets:
    """The secrets kept in `directory`, which must exist. What is missing is generated and written first."""
    path = directory / NAME
    kept = _read(path)
    names = [field.name for field in fields(Secrets)]
    found = Secrets(**{name: kept.get(name) or _generate(name) for name in names})
    if asdict(found) != kept:
        write_private(path, json.dumps(asdict(found), indent=1) + "\n")
    return found


def _read(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    try:
        kept = json.loads(path.read_text("utf-8"))
    except ValueError:
        kept = None
    if not isinstance(kept, dict) or not all(isinstance(value, str) for value in kept.values()):
        raise Misconfigured(
            "secrets_unreadable",
            f"{path} is damaged. Without it the data beside it cannot be opened: restore it from a backup.",
        )
    return kept


def _generate(name: str) -> str:
    return "rushes" + secrets.token_hex(8) if name == "storage_access_key" else secrets.token_urlsafe(32)
