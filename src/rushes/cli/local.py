"""This machine's own stack, and tokens signed with its secret. Server code is imported inside the functions."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsError

from rushes.client.journal_file import home
from rushes.config import Settings
from rushes.errors import Misconfigured
from rushes.model import Principal, Role

if TYPE_CHECKING:
    from rushes.embedded.address import Running

LOCAL_TENANT = "local"
LOCAL_PLAN = "studio"


def read_settings(**given: Any) -> Settings:
    """Settings from the environment, with what the command line gave on top. Raises `Misconfigured`."""
    try:
        return Settings(**{name: value for name, value in given.items() if value is not None})
    except SettingsError as error:
        raise Misconfigured("setting_invalid", f"A RUSHES_ setting cannot be used: {error}; lists are JSON.") from error
    except RuntimeError:
        home()  # what is missing, in a sentence
        raise
    except ValidationError as error:
        first = error.errors()[0]
        reason = first["msg"].removeprefix("Value error, ")
        name = "RUSHES_" + "_".join(str(step) for step in first["loc"]).upper()
        raise Misconfigured("setting_invalid", f"The setting {name} cannot be used: {reason}.") from error


@contextmanager
def server_code() -> Iterator[None]:
    """Around imports of the server: says what to install when a package is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "rushes":
            raise
        raise Misconfigured(
            "server_extra_missing",
            f"This needs rushes' server, which is not installed here ({error.name} is missing): "
            "pip install 'rushes[server,media]'.",
        ) from error


def find_stack(settings: Settings) -> Running | None:
    """The stack that runs on the data directory, if any."""
    with server_code():
        from rushes.embedded.address import find
    return find(settings.data_dir)


def stack_settings(running: Running) -> Settings:
    """The settings that a running stack's own processes have."""
    values: dict[str, Any] = {}
    for name, field in Settings.model_fields.items():
        text = running.environment.get(f"RUSHES_{name.upper()}")
        if text is not None:
            values[name] = json.loads(text) if isinstance(field.default, tuple) else text
    return read_settings(**values)


def server_settings(settings: Settings) -> Settings:
    """By which a command reaches database and storage: the settings in force, or those of the stack that runs here.

    Raises `Misconfigured` when there is neither.
    """
    if settings.database_url is not None:
        return settings
    running = find_stack(settings)
    if running is None:
        raise Misconfigured(
            "no_server_settings",
            "This needs the server's own settings: set RUSHES_DATABASE_URL and the storage settings, or start a server "
            "here with `rushes up`.",
        )
    return stack_settings(running)


@contextmanager
def started_stack(settings: Settings) -> Iterator[Running]:
    """A stack that lives as long as the block; its log goes to `stack.log` in the data directory."""
    with server_code():
        import rushes.main  # noqa: F401 - the child needs it: better said here than in its log
        from rushes.embedded.stack import background
    with background(settings, command=(sys.executable, "-m", "rushes", "up", "--no-token")) as running:
        yield running


def person() -> str:
    """The name of the person at the keyboard."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid-{os.getuid()}"


def stack_token(environment: Mapping[str, str], lifetime: timedelta) -> str:
    """A token for the person at the keyboard: operator of the local tenant, by the secret of a running stack."""
    who = Principal(LOCAL_TENANT, person(), Role.OPERATOR, LOCAL_PLAN)
    settings = read_settings(
        token_secret=SecretStr(environment["RUSHES_TOKEN_SECRET"]),
        token_issuer=environment.get("RUSHES_TOKEN_ISSUER"),
        token_audience=environment.get("RUSHES_TOKEN_AUDIENCE"),
    )
    return mint(settings, who, lifetime)


def mint(settings: Settings, who: Principal, lifetime: timedelta) -> str:
    with server_code():
        from rushes.ingest.tokens import mint_for
    return mint_for(settings, who, lifetime, datetime.now(UTC))


def with_secret(settings: Settings) -> Settings:
    """The settings with a token secret: their own, the running stack's, or the one its data directory keeps."""
    if settings.token_secret is not None:
        return settings
    with server_code():
        from rushes.embedded import secrets
    if (settings.data_dir / secrets.NAME).exists():
        kept = secrets.load(settings.data_dir).token_secret
        return settings.model_copy(update={"token_secret": SecretStr(kept)})
    raise Misconfigured(
        "token_secret_missing",
        "There is no secret to sign with: set RUSHES_TOKEN_SECRET to the server's, or run `rushes up` once, which "
        f"makes one in {settings.data_dir}.",
    )
