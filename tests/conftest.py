"""Real servers for every test: one PostgreSQL and one object store a run, both migrated, on free ports."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import hypothesis
import pytest
from hypothesis import core as hypothesis_core
from pydantic import SecretStr

from rushes import main
from rushes.config import Settings
from rushes.embedded import postgres, seaweed
from rushes.ingest import tokens
from rushes.ingest.context import Context
from rushes.model import Principal, Role

ROUNDS = int(os.environ.get("RUSHES_TEST_ROUNDS", "1"))  # `make long` asks for more
SEED = int(os.environ.get("RUSHES_TEST_SEED") or random.SystemRandom().randrange(2**31))
EXPECTED_SKIPS = (
    "needs root",
    "only root can",
    "root may become anyone",
    "this root may not mount",
    "that nobody",
    "cannot be had on this machine",
)
os.environ["RUSHES_TEST_SEED"] = str(SEED)  # the processes that share a run's tests share its seed
MAKE_CLIP = Path(__file__).parents[1] / "scripts" / "make_clip.py"
SECRET = "a secret for tests alone, long enough for HS256"
OPERATOR = Principal("acme", "olga", Role.OPERATOR, "studio")


def pytest_configure() -> None:
    random.seed(SEED)
    hypothesis_core.global_force_seed = SEED  # type: ignore[assignment]
    hypothesis.settings.register_profile("rounds", max_examples=100 * ROUNDS, deadline=None, database=None)
    hypothesis.settings.load_profile("rounds")


def pytest_report_header() -> str:
    return f"rounds: {ROUNDS}, seed: {SEED} (RUSHES_TEST_ROUNDS, RUSHES_TEST_SEED)"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A skip that does not follow from who runs the tests fails the run: what was not shown must not look shown."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None:
        return  # one of several processes; the one that started them judges
    surprises = [report for report in reporter.stats.get("skipped", []) if not _is_expected(report)]
    for report in surprises:
        reporter.write_line(f"UNEXPECTED SKIP {report.nodeid}: {report.longrepr}", red=True)
    if surprises and session.exitstatus == 0:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """What tests tell of what they saw, by `record_property("saw", …)`: a kill says where it struck."""
    for report in terminalreporter.stats.get("passed", []):
        for name, text in report.user_properties:
            if name == "saw":
                terminalreporter.write_line(f"{report.nodeid}: {text}")


def _is_expected(report: pytest.TestReport) -> bool:
    reason = str(report.longrepr[2]) if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return any(expected in reason for expected in EXPECTED_SKIPS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A test that takes `round_` runs as often as was asked for."""
    if "round_" in metafunc.fixturenames:
        metafunc.parametrize("round_", range(ROUNDS))


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a migrated database and a store with buckets, both alive while the tests run."""
    directory = tmp_path_factory.mktemp("servers")
    with postgres.running(directory / "one") as url, seaweed.running(directory / "two") as store:
        found = Settings(
            data_dir=directory,
            database_url=SecretStr(url),
            storage_endpoint=store.endpoint,
            storage_public_endpoint=store.endpoint,
            storage_access_key=store.access_key,
            storage_secret_key=SecretStr(store.secret_key),
            token_secret=SecretStr(SECRET),
            create_buckets=True,
            takeover_seconds=5,
            complete_wait_seconds=10,
        )
        main.migrate(found)
        yield found


@pytest.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[httpx.ASGITransport]:
    """The API with its own pool, in this process."""
    application = main.app(settings)
    async with application.router.lifespan_context(application):
        yield httpx.ASGITransport(app=application, raise_app_exceptions=False)


@pytest.fixture(scope="session")
async def context(settings: Settings) -> AsyncIterator[Context]:
    """What the verbs need, for tests that call them directly."""
    async with main.open_context(settings) as found:
        yield found


@pytest.fixture(scope="session")
def token_for(settings: Settings) -> Callable[..., str]:
    def make(who: Principal = OPERATOR, seconds: float = 3600, at: datetime | None = None) -> str:
        return tokens.mint_for(settings, who, timedelta(seconds=seconds), at or datetime.now(UTC))

    return make


@pytest.fixture(scope="session")
def as_(app: httpx.ASGITransport, token_for: Callable[..., str]) -> Callable[..., object]:
    """`async with as_(who) as http:` is an HTTP client of the API that speaks for `who`."""

    @asynccontextmanager
    async def client(who: Principal = OPERATOR) -> AsyncIterator[httpx.AsyncClient]:
        headers = {"Authorization": f"Bearer {token_for(who)}"}
        async with httpx.AsyncClient(transport=app, base_url="http://api", headers=headers, timeout=60) as http:
            yield http

    return client


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of picture and sound."""
    path = tmp_path_factory.mktemp("tiny") / "tiny.mp4"
    subprocess.run([sys.executable, MAKE_CLIP, path, "--seconds", "2", "--megabytes", "2"], check=True, timeout=120)
    return path
