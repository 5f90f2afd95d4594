"""What `rushes login` keeps: for each server a token, in one file that its owner alone can read.

    $XDG_CONFIG_HOME/rushes/credentials.json    {"default": "https://…", "servers": {"https://…": {"token": "…", …}}}

The file is replaced as a whole, so a reader never meets half of one; two logins at once wait for each other.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rushes.client.journal_file import home, private
from rushes.errors import Misconfigured


def default_path() -> Path:
    """``$XDG_CONFIG_HOME/rushes/credentials.json`` (``~/.config/…``)."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or home() / ".config") / "rushes" / "credentials.json"


class Login(BaseModel):
    """A token for one server, and what it was said to be when it was stored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    token: str = Field(repr=False)
    creator: str = ""
    tenant: str = ""
    expires_at: datetime | None = None
    stored_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class _Kept(BaseModel):
    model_config = ConfigDict(extra="ignore")

    default: str | None = None
    servers: dict[str, Login] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Credentials:
    """The logins of one person on this machine."""

    path: Path = field(default_factory=default_path)

    @property
    def default(self) -> str | None:
        """The server of the last login."""
        return self._read().default

    def servers(self) -> dict[str, Login]:
        return self._read().servers

    def find(self, url: str) -> Login | None:
        """The login for a server, however its address is written. Raises `Misconfigured` (credentials_unreadable)."""
        return self._read().servers.get(server_of(url))

    def store(self, url: str, login: Login) -> None:
        """Keep a login; its server becomes the default."""
        with self._changing() as kept:
            kept.servers[server_of(url)] = login
            kept.default = server_of(url)

    def forget(self, url: str) -> bool:
        """Drop the login for a server; whether there was one. The default goes to the newest that is left."""
        with self._changing() as kept:
            found = kept.servers.pop(server_of(url), None)
            if kept.default == server_of(url):
                kept.default = max(kept.servers, key=lambda name: kept.servers[name].stored_at, default=None)
        return found is not None

    def _read(self) -> _Kept:
        try:
            text = self.path.read_text(encoding="utf-8")
        except (FileNotFoundError, NotADirectoryError):
            return _Kept()
        except (OSError, UnicodeDecodeError) as error:
            raise self._unreadable(str(error)) from error
        try:
            return _Kept.model_validate_json(text)
        except ValidationError as error:
            raise self._unreadable("it is not what `rushes login` writes") from error

    def _unreadable(self, why: str) -> Misconfigured:
        return Misconfigured(
            "credentials_unreadable",
            f"The logins in {self.path} cannot be read: {why}. Delete that file and log in again.",
        )

    @contextmanager
    def _changing(self) -> Iterator[_Kept]:
        try:
            private(self.path.parent)
            directory = os.open(self.path.parent, os.O_RDONLY)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            fcntl.flock(directory, fcntl.LOCK_EX)
            kept = self._read()
            yield kept
            self._write(kept)
        except OSError as error:
            raise self._unwritable(error) from error
        finally:
            os.close(directory)  # and with it the lock

    def _write(self, kept: _Kept) -> None:
        fresh = self.path.with_name(f".{self.path.name}.{secrets.token_hex(4)}")
        data = json.dumps(kept.model_dump(mode="json"), indent=2).encode() + b"\n"
        try:
            with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError:
            with suppress(FileNotFoundError):
                fresh.unlink()
            raise

    def _unwritable(self, error: OSError) -> Misconfigured:
        return Misconfigured("credentials_unwritable", f"{self.path} cannot be written: {error.strerror}.")


def server_of(url: str) -> str:
    """An API's address as the one name of its server: without `/v1`, slashes at the end, capitals in the host, usual ports."""
    bare = url.strip().rstrip("/").removesuffix("/v1").rstrip("/")
    try:
        parts = urlsplit(bare)
    except ValueError:
        return bare  # no address: whoever asks there is told so
    host = parts.netloc.rpartition("@")[2].lower()
    usual = {"http": ":80", "https": ":443"}.get(parts.scheme.lower(), "")
    return f"{parts.scheme.lower()}://{host.removesuffix(usual) if usual else host}{parts.path}" if host else bare
