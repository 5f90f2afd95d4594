"""`login`, `logout`, `whoami`, and whose token a command takes, against a whole stack."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest

from rushes.cli import exits
from rushes.client.credentials import Credentials, Login, server_of
from rushes.errors import Misconfigured
from rushes.model import Principal, Role
from tests.cli.conftest import Rushes, token_of
from tests.cli.terminal import on_a_terminal
from tests.client.equipment import Site
from tests.e2e.equipment import Site as Stack


@pytest.fixture
def kept(tmp_path: Path) -> Credentials:
    return Credentials(tmp_path / ".config" / "rushes" / "credentials.json")


def test_a_login_is_kept_and_used(stack: Stack, rushes_here: Rushes, rushes: Rushes, kept: Credentials) -> None:
    url = stack.running.api_url
    ann = token_of(stack, Principal("acme", "ann", Role.CREATOR, "pro"))
    done = rushes("login", f"{url}/v1/", "--token-stdin", typed=f"{ann}\n")
    assert done.returncode == exits.OK, done.stderr
    assert f"Logged in at {url} as ann of acme, creator, plan pro." in done.stdout
    assert ann not in done.stdout + done.stderr
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(kept.path.parent.stat().st_mode) == 0o700
    said = rushes_here("whoami").stdout
    for text in ("ann of acme, creator, plan pro", url, "from rushes login, is good until", "stored", "0 B of 50 GB"):
        assert text in said
    told = json.loads(rushes_here("whoami", "--json").stdout)
    assert (told["creator"], told["role"], told["usage"]["plan"]) == ("ann", "creator", "pro")
    assert rushes_here("ls").stdout == "No uploads yet.\n"
    listed = rushes_here("login", "--list").stdout
    assert listed.startswith(f"* {url}  ann of acme, the token is good until")
    assert ann not in listed
    assert rushes_here("logout").returncode == exits.OK
    assert rushes_here("logout").returncode == exits.REFUSED
    assert rushes_here("whoami").returncode == exits.UNAVAILABLE, "nothing is left of it"


def test_options_go_before_the_environment_and_both_before_a_login(
    stack: Stack, rushes_here: Rushes, kept: Credentials
) -> None:
    url = stack.running.api_url
    of = {name: token_of(stack, Principal("acme", name)) for name in ("ann@acme", "bob@acme", "cid@acme")}
    kept.store(url, Login(token=of["ann@acme"]))

    def who(*options: str, **env: str) -> str:
        told: str = json.loads(rushes_here("whoami", "--json", *options, **env).stdout)["creator"]
        return told

    assert who() == "ann@acme"
    assert who("--server", url) == "ann@acme"
    assert who(RUSHES_TOKEN=of["bob@acme"]) == "bob@acme"
    assert who("--token", of["cid@acme"], RUSHES_TOKEN=of["bob@acme"]) == "cid@acme"
    here = str(stack.running.data_dir)
    assert who("--server", "local", RUSHES_DATA_DIR=here) not in {"ann@acme", "bob@acme", "cid@acme"}, (
        "the person at the keyboard"
    )
    assert who(RUSHES_SERVER="local", RUSHES_DATA_DIR=here, RUSHES_TOKEN=of["bob@acme"]) == "bob@acme"
    kept.forget(url)
    assert who(RUSHES_DATA_DIR=here) not in {"ann@acme", "bob@acme", "cid@acme"}


def test_a_token_is_tried_before_it_is_kept(stack: Stack, rushes: Rushes, kept: Credentials, site: Site) -> None:
    url = stack.running.api_url
    old = token_of(stack, Principal("acme", "ann"), timedelta(hours=-1))
    for given, said in ((old, "has expired"), ("nonsense", "not the whole of one"), ("", "no token on stdin")):
        done = rushes("login", url, "--token-stdin", typed=given)
        assert done.returncode in {exits.REFUSED, exits.USAGE}
        assert said in done.stderr
    assert rushes("login", "http://127.0.0.1:9", "--token-stdin", typed="x").returncode == exits.UNAVAILABLE
    assert rushes("login", f"{site.url}/elsewhere", "--token-stdin", typed="x").returncode == exits.REFUSED, (
        "not rushes"
    )
    assert "the server's own address" in rushes("login", f"{url}/docs", "--token-stdin", typed="x").stderr
    assert "--token-stdin" in rushes("login", url, typed="x").stderr, "nobody is at the keyboard"
    assert "rushes login https://" in rushes("login", typed="x").stderr
    assert not kept.path.exists()


def test_an_expired_login_says_how_to_renew_it(stack: Stack, rushes_here: Rushes, kept: Credentials) -> None:
    url = stack.running.api_url
    kept.store(url, Login(token=token_of(stack, Principal("acme", "ann"), timedelta(hours=-1))))
    done = rushes_here("ls")
    assert done.returncode == exits.REFUSED
    assert f"rushes login {url}" in done.stderr


def test_a_token_for_one_upload_has_no_usage(stack: Stack, rushes_here: Rushes) -> None:
    upload = uuid4()
    narrow = token_of(stack, Principal("acme", "ann", upload=upload))
    said = rushes_here("whoami", "--server", stack.running.api_url, "--token", narrow)
    assert said.returncode == exits.OK, said.stderr
    assert f"the upload {upload}" in said.stdout


def test_a_token_typed_at_a_terminal_is_not_shown(stack: Stack, environment: dict[str, str], kept: Credentials) -> None:
    ann = token_of(stack, Principal("acme", "ann"))
    code, shown = on_a_terminal("login", stack.running.api_url, environment=environment, asked="Token for", answer=ann)
    assert code == exits.OK, shown
    assert "Logged in at" in shown
    assert ann not in shown
    assert kept.default == stack.running.api_url


def test_logins_at_once_lose_none(kept: Credentials) -> None:
    names = [f"https://server-{n}.example" for n in range(20)]
    threads = [Thread(target=kept.store, args=(name, Login(token=name))) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(kept.servers()) == set(names)
    assert kept.default in names
    assert [path.name for path in kept.path.parent.iterdir()] == ["credentials.json"]


def test_the_newest_login_left_becomes_the_default(kept: Credentials) -> None:
    start = datetime(2026, 11, 21, tzinfo=UTC)
    for hour, name in enumerate("acb"):
        kept.store(f"https://{name}.example", Login(token="t", stored_at=start + timedelta(hours=hour)))
    assert kept.default == "https://b.example"
    assert kept.forget("https://B.example:443/v1/")
    assert kept.default == "https://c.example"
    assert not kept.forget("https://b.example")


def test_a_file_that_is_not_ours_is_left_alone(kept: Credentials) -> None:
    kept.path.parent.mkdir(parents=True)
    for text in ("no json", '{"servers": 5}', '["a"]', "\udcff"):
        kept.path.write_bytes(text.encode("utf-8", "surrogateescape"))
        before = kept.path.read_bytes()
        with pytest.raises(Misconfigured, match="Delete that file"):
            kept.store("https://a.example", Login(token="t"))
        assert kept.path.read_bytes() == before


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        ("https://Media.Example:443/v1/", "https://media.example"),
        ("http://127.0.0.1:8420", "http://127.0.0.1:8420"),
        ("http://host:80/under/v1", "http://host/under"),
        ("https://ann@host/", "https://host"),
        ("http://host:8080", "http://host:8080"),
    ],
)
def test_one_server_has_one_name(typed: str, named: str) -> None:
    assert server_of(typed) == named == server_of(named)
