"""One upload under random abuse: a whole stack, lines to its API and its store that break, and a client that is killed.

A `Yard` is what a round needs and rounds share: `rushes up` with any file allowed, a `Line` to the API and one to the store
(grants lead through it), and a clock for the client that jumps. What strikes when is drawn from the round's seed; strikes
are timed by bytes that passed the lines, so that a slow machine sees the same abuse as a fast one.
"""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rushes.errors import Unavailable
from rushes.ingest import tokens
from rushes.model import Principal, Role
from tests.client.line import Line
from tests.e2e.equipment import Site, sha256, site, until

MIB = 1 << 20
PART = 5 * MIB
RATE = 40e6  # bytes a second of the line to storage: an upload takes some seconds, in which things can go wrong
RUNS = 25  # of the client in one round, at most
SECONDS = 240.0  # a round may take
LEAST_BLOCK = 4096
# These lose what is under way: up to four parts each time. So twice at most: a file of 48 parts may send 7 of them twice.
CUTTING = frozenset({"kill -9", "token expiry", "storage cut", "relay only and back"})
MOST_CUTTING = 2
WHO = Principal("local", "ella", Role.OPERATOR, "studio")


@dataclass
class Yard:
    """Everything a round needs. `clock` is the file with the seconds by which the client's wall clock is off."""

    site: Site
    api: Line
    store: Line
    directory: Path
    clock: Path
    preload: Path | None  # None where no C compiler is: then no clock jumps

    def sent(self) -> int:
        return self.api.up + self.store.up

    def token(self, seconds: float) -> str:
        """One that is refused after so many seconds: the server's trust in clocks is used up already."""
        secret = self.site.running.environment["RUSHES_TOKEN_SECRET"]
        at = datetime.now(UTC) - tokens.LEEWAY
        return tokens.mint(secret, "rushes", "rushes", WHO, timedelta(seconds=seconds), at)

    def turn_clock(self, seconds: int) -> None:
        with self.clock.open("r+b") as file:
            file.write(seconds.to_bytes(8, sys.byteorder, signed=True))


@contextmanager
def yard(directory: Path, seed: int) -> Iterator[Yard]:
    directory.mkdir()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory)  # gigabytes: not kept as other tests' folders are
        store = stack.enter_context(Line("http://127.0.0.1:1", seed=seed))
        api = stack.enter_context(Line("http://127.0.0.1:1", seed=seed))
        running = stack.enter_context(site(directory / "stack", storage_public_endpoint=store.url, public_url=api.url))
        environment = running.running.environment
        store.upstream, api.upstream = environment["RUSHES_STORAGE_ENDPOINT"], running.running.api_url
        allow = [sys.executable, "-m", "rushes", "tenant", "set", WHO.tenant, "--types", "*"]
        subprocess.run(allow, env=os.environ | environment, check=True, capture_output=True)
        running.client.upload(
            io.BytesIO(b"At the first upload the server tries its storage out."), filename="first.bin"
        )
        clock = directory / "clock"
        clock.write_bytes(bytes(8))
        yield Yard(running, api, store, directory, clock, jumping(directory))


def jumping(directory: Path) -> Path | None:
    """The library by which a process's wall clock jumps; None where it cannot be compiled, or not be loaded so."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        return None
    made = directory / "jumping.so"
    source = Path(__file__).with_name("jumping.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", made, source], check=True, capture_output=True)
    return made


def make_file(path: Path, rng: random.Random, parts: int) -> str:
    """A file of `parts` parts, the last one short; no block is like another, nor like one of another round. Its SHA-256."""
    block = rng.randbytes(PART)
    with path.open("wb") as file:
        for number in range(parts - 1):
            file.write(number.to_bytes(8, "big") + block[8:])
        file.write(block[: rng.randrange(LEAST_BLOCK, PART)])
    return sha256(path)


# --- the client -------------------------------------------------------------------------------------------------------


@dataclass
class Uploader:
    """`rushes upload` of one file, again and again."""

    yard: Yard
    path: Path
    token_seconds: float = 3600.0  # of the next run's token
    process: subprocess.Popen[bytes] | None = None
    runs: int = 0
    ends: list[str] = field(default_factory=list)  # how each run ended
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.path.with_suffix(".log")

    def start(self) -> None:
        self.runs += 1
        assert self.runs <= RUNS, f"the client was started {RUNS} times: {self.ends}"
        env = {name: text for name, text in os.environ.items() if not name.startswith("RUSHES_")}
        env |= {
            "RUSHES_SERVER": self.yard.api.url,
            "RUSHES_TOKEN": self.yard.token(self.token_seconds),
            "RUSHES_STATE_DIR": str(self.yard.directory / "state"),
            "HOME": str(self.yard.directory),
        }
        if self.yard.preload is not None:
            env |= {"LD_PRELOAD": str(self.yard.preload), "CLOCK_OFFSET": str(self.yard.clock)}
        self.token_seconds = 3600.0
        argv = [sys.executable, "-m", "rushes", "upload", str(self.path), "--part-size", f"{PART // MIB}MiB"]
        with self.log.open("ab") as log:
            log.write(f"--- run {self.runs}\n".encode())
            log.flush()
            self.process = subprocess.Popen(argv, env=env, cwd=self.path.parent, stdout=log, stderr=log)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()

    def over(self) -> bool:
        """Whether a run has ended well; one that has ended otherwise is followed by the next."""
        if self.process is None:
            self.start()
            return False
        code = self.process.poll()
        if code is None:
            return False
        self.process = None
        self.ends.append("killed" if code == -signal.SIGKILL else f"exit {code}")
        return code == 0

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


# --- the abuse --------------------------------------------------------------------------------------------------------


@dataclass
class Strike:
    at: float  # of the file's size, counted in bytes that passed the lines
    name: str
    hit: Callable[[], float]  # does it; seconds until `heal`
    heal: Callable[[], object] = lambda: None


def strikes(yard: Yard, client: Uploader, rng: random.Random, count: int) -> list[Strike]:
    def kill() -> float:
        client.kill()
        return 0.0

    def server() -> float:
        yard.site.child("api").kill()
        return 0.0

    def cut() -> float:
        yard.store.cut()
        yard.store.weather(refuses=rng.random() < 0.5)
        return rng.uniform(0.1, 1.5)

    def silent() -> float:
        yard.store.weather(hole=True)
        return rng.uniform(0.1, 2.0)

    def token() -> float:
        client.token_seconds = rng.uniform(0.5, 2.0)
        client.kill()
        return 0.0

    def clock() -> float:
        yard.turn_clock(rng.choice((-1, 1)) * rng.choice((90, 3_600, 86_400, 400 * 86_400)))
        return 0.0

    def relay() -> float:
        yard.store.cut()
        yard.store.weather(refuses=True)
        return rng.uniform(2.0, 5.0)

    def clear() -> None:
        yard.store.weather(refuses=False, hole=False)

    hits: list[tuple[str, Callable[[], float]]] = [
        ("kill -9", kill),
        ("server restart", server),
        ("storage cut", cut),
        ("storage silent", silent),
        ("token expiry", token),
        ("relay only and back", relay),
    ]
    if yard.preload is not None:
        hits.append(("clock jump", clock))
    cutting = 0
    chosen: list[tuple[str, Callable[[], float]]] = []
    for name, hit in rng.sample(hits, len(hits)):
        cutting += name in CUTTING
        if len(chosen) < count and (name not in CUTTING or cutting <= MOST_CUTTING):
            chosen.append((name, hit))
    return sorted((Strike(rng.uniform(0.03, 0.95), name, hit, clear) for name, hit in chosen), key=lambda s: s.at)


@dataclass
class Told:
    """What one round came to."""

    parts: int
    sent: float  # of the file's size
    seconds: float
    runs: int
    struck: list[str]
    relayed: int  # parts that went through the API

    def __str__(self) -> str:
        return (
            f"{self.parts} parts, sent {self.sent:.3f} of the size, {self.seconds:.1f} s, {self.runs} runs, "
            f"{self.relayed} relayed; {', '.join(self.struck) or 'nothing struck'}"
        )


def abused(yard: Yard, rng: random.Random, *, parts: int, count: int) -> Told:
    """Upload one file while `count` things go wrong; what it took. Asserts that the right bytes are published, once."""
    path = yard.directory / f"clip {rng.randrange(2**40):010x}.bin"
    digest = make_file(path, rng, parts)
    client = Uploader(yard, path)
    coming, before, began, size = strikes(yard, client, rng, count), yard.sent(), time.monotonic(), path.stat().st_size
    struck: list[str] = []
    heal_at, heal = 0.0, coming[0].heal
    yard.store.weather(rate=RATE)
    try:
        while not client.over():
            now = time.monotonic()
            assert now - began < SECONDS, f"not done after {SECONDS:.0f} s: {client.ends}, {struck}\n{client.said()}"
            if heal_at and now >= heal_at:
                heal()
                heal_at = 0.0
            if coming and not heal_at and yard.sent() - before >= coming[0].at * size:
                strike = coming.pop(0)
                struck.append(f"{strike.name} at {(yard.sent() - before) / size:.2f}")
                seconds = strike.hit()
                heal_at, heal = (now + seconds if seconds else 0.0), strike.heal
            time.sleep(0.01)
    finally:
        client.kill()
        yard.store.clear()
        yard.turn_clock(0)
    sent = (yard.sent() - before) / size
    relayed = published(yard.site, path.name, digest, size)
    path.unlink()
    return Told(parts, sent, time.monotonic() - began, client.runs, struck, relayed)


def published(stack: Site, name: str, digest: str, size: int) -> int:
    """Assert that exactly one asset of this name comes to be published, with these bytes; how many parts were relayed."""
    deadline = time.monotonic() + SECONDS
    while True:
        rows = stack.rows("SELECT id, asset_id, state FROM uploads WHERE filename = %s", name)
        done = [row for row in rows if row[2] == "ingested"]
        assert len(done) <= 1, f"uploaded twice: {rows}"
        assets = stack.rows("SELECT state, sha256, size FROM assets WHERE id = %s", done[0][1] if done else rows[0][1])
        if assets[0][0] == "published":
            break
        assert time.monotonic() < deadline, f"not published: {rows}, {assets}"
        time.sleep(0.05)
    until(lambda: answers(stack), SECONDS, "a server that was killed right at the end is back")
    found = stack.client.assets.get(done[0][1])  # type: ignore[arg-type]
    assert (found.status, found.sha256, found.size) == ("published", digest, size)
    relayed = stack.rows("SELECT count(*) FROM parts WHERE upload_id = %s AND way = 'relayed'", done[0][0])
    stack.client.assets.delete(found.id)
    return int(str(relayed[0][0]))


def answers(stack: Site) -> bool:
    try:
        stack.client.check()
    except Unavailable:
        return False
    return True
