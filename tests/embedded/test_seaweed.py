"""The embedded object store: what it refuses to strangers, and what it promises to those who have the key."""

from __future__ import annotations

import http.client
import json
import os
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import botocore.exceptions
import psutil
import pytest

from rushes.embedded import ports, seaweed
from rushes.embedded.seaweed import Store

from .equipment import listeners, store

BODY = os.urandom(5_000_000)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("weed") / "a, b" / ("long" * 30)


@pytest.fixture(scope="module")
def reached(data: Path) -> Iterator[Store]:
    with seaweed.running(data) as found:
        yield found


@pytest.fixture(scope="module")
def at(reached: Store, data: Path) -> dict[str, int]:
    """Its ports: master, volume, filer, s3 and their gRPC ones."""
    found = {name.removeprefix("seaweed."): port for name, port in ports.remembered(data).items()}
    return {**found, "admin.grpc": found["admin"] + 10000}


@pytest.fixture(scope="module")
def server(reached: Store, at: dict[str, int]) -> psutil.Process:
    return next(child for child in psutil.Process().children() if ("127.0.0.1", at["s3"]) in listeners([child]))


@pytest.fixture(scope="module")
def s3(reached: Store) -> Iterator[Any]:
    with store(as_variables(reached)) as client:
        client.create_bucket(Bucket="rushes-test")
        yield client


def as_variables(found: Store) -> Mapping[str, str]:
    return {
        "RUSHES_STORAGE_ENDPOINT": found.endpoint,
        "RUSHES_STORAGE_ACCESS_KEY": found.access_key,
        "RUSHES_STORAGE_SECRET_KEY": found.secret_key,
    }


def asked(port: int, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()


def test_it_stores_and_gives_back(s3: Any) -> None:
    s3.put_object(Bucket="rushes-test", Key="a/b", Body=BODY)
    with closing(s3.get_object(Bucket="rushes-test", Key="a/b", Range="bytes=10-1000009")["Body"]) as body:
        assert body.read() == BODY[10:1000010]


@pytest.mark.parametrize(
    ("part", "method", "path", "status"),
    [
        ("filer", "POST", "/buckets/rushes-test/intruder", 404),
        ("filer", "PUT", "/buckets/rushes-test/intruder", 404),
        ("filer", "GET", "/buckets/rushes-test/a/b", 404),
        ("filer", "DELETE", "/buckets/rushes-test/a/b", 404),
        ("master", "GET", "/dir/assign", 404),
        ("master", "POST", "/submit", 404),
        ("master", "GET", "/dir/lookup?volumeId=1", 404),
        ("master", "GET", "/col/delete?collection=rushes-test", 404),
        ("volume", "POST", "/1,01637037d6", 401),
        ("volume", "GET", "/1,01637037d6", 401),
        ("s3", "GET", "/rushes-test/a/b", 403),
        ("s3", "PUT", "/rushes-test/intruder", 403),
        ("admin", "GET", "/", 404),
    ],
)
def test_a_stranger_is_refused(s3: Any, at: dict[str, int], part: str, method: str, path: str, status: int) -> None:
    s3.put_object(Bucket="rushes-test", Key="a/b", Body=BODY)
    assert asked(at[part], method, path, b"x" * 100 if method in {"POST", "PUT"} else b"")[0] == status
    assert [entry["Key"] for entry in s3.list_objects_v2(Bucket="rushes-test")["Contents"]] == ["a/b"]
    assert s3.head_object(Bucket="rushes-test", Key="a/b")["ContentLength"] == len(BODY)


@pytest.mark.parametrize("part", ["master.grpc", "volume.grpc", "filer.grpc", "s3.grpc", "admin.grpc"])
def test_grpc_speaks_only_with_those_who_hold_the_certificate(data: Path, at: dict[str, int], part: str) -> None:
    assert greeted(at[part], ours(data)), "the test must be able to succeed"
    assert not greeted(at[part], None)
    with socket.create_connection(("127.0.0.1", at[part]), timeout=5) as plain:
        plain.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
        assert b"\x04\x00" not in received(plain), "no SETTINGS frame without TLS"


def ours(data: Path) -> tuple[str, str]:
    return str(data / "seaweed" / "grpc.crt"), str(data / "seaweed" / "grpc.key")


def greeted(port: int, certificate: tuple[str, str] | None) -> bool:
    """Whether the server begins to speak HTTP/2 after a handshake with, or without, a client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    if certificate:
        context.load_cert_chain(*certificate)
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        try:
            with context.wrap_socket(plain) as secured:
                secured.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
                return len(secured.recv(9)) > 0
        except OSError:  # ssl.SSLError is one
            return False


def received(plain: socket.socket) -> bytes:
    try:
        return plain.recv(100)
    except OSError:
        return b""


def test_no_one_outside_this_machine_reaches_it(server: psutil.Process, at: dict[str, int]) -> None:
    assert listeners([server]) == {("127.0.0.1", port) for port in at.values()}


def test_its_memory_is_bounded(server: psutil.Process) -> None:
    environment = server.environ()
    assert environment["GOMEMLIMIT"] == "400MiB"
    assert not [name for name in environment if name.startswith(("RUSHES_", "AWS_", "WEED_"))]


def test_what_it_confirms_is_on_the_disk(data: Path, reached: Store, at: dict[str, int], s3: Any) -> None:
    program = seaweed.find_weed()
    where = (
        f"-master=127.0.0.1:{at['master']}.{at['master.grpc']}",
        f"-filer=127.0.0.1:{at['filer']}.{at['filer.grpc']}",
    )
    shell = subprocess.run(
        [program, "shell", *where],
        cwd=data / "seaweed",
        input=b"fs.configure\n",
        capture_output=True,
        timeout=30,
        check=True,
    )
    (rule,) = json.loads(shell.stdout[shell.stdout.index(b"{") : shell.stdout.rindex(b"}") + 1])["locations"]
    assert (rule["locationPrefix"], rule["fsync"]) == ("/buckets/", True)


def test_its_files_are_private(data: Path, reached: Store) -> None:
    for name in ("s3.json", "security.toml", "grpc.key", "../secrets.json", "../ports.json"):
        assert stat.S_IMODE((data / "seaweed" / name).stat().st_mode) == 0o600, name
    for name in ("", "data", ".."):
        assert stat.S_IMODE((data / "seaweed" / name).stat().st_mode) == 0o700, name


def test_browsers_may_be_allowed_in(reached: Store, s3: Any) -> None:
    s3.put_bucket_cors(
        Bucket="rushes-test",
        CORSConfiguration={
            "CORSRules": [{"AllowedMethods": ["PUT"], "AllowedOrigins": ["*"], "AllowedHeaders": ["*"]}]
        },
    )
    with closing(http.client.HTTPConnection(reached.endpoint.removeprefix("http://"), timeout=5)) as connection:
        headers = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "PUT",
            "Access-Control-Request-Headers": "x-amz-checksum-crc64nvme",
        }
        connection.request("OPTIONS", "/rushes-test/a", headers=headers)
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.headers["Access-Control-Allow-Origin"] in {"*", "https://app.example"}


def test_the_wrong_key_opens_nothing(reached: Store, s3: Any) -> None:
    refused = pytest.raises(botocore.exceptions.ClientError, match="SignatureDoesNotMatch")
    with store({**as_variables(reached), "RUSHES_STORAGE_SECRET_KEY": "wrong"}) as stranger, refused:
        stranger.list_buckets()


@pytest.mark.parametrize(
    ("free_gigabytes", "megabytes"), [(0.1, 64), (3, 64), (10, 128), (40, 512), (70, 1024), (5000, 1024)]
)
def test_volumes_are_small_where_space_is(free_gigabytes: float, megabytes: int) -> None:
    assert seaweed.volume_megabytes(int(free_gigabytes * 1e9)) == megabytes


def test_the_levels_of_its_lines() -> None:
    read = seaweed.read_line
    assert read("I1121 12:00:00.000001 a.go:1 hello").level == "debug"
    assert read("W1121 12:00:00.000001 a.go:1] careful").level == "warning"
    assert read("E1121 12:00:00.000001 a.go:1] broken").text == "broken"
    assert read("  Master   ready").level == "debug"
