"""The transport against real sockets that behave badly."""

from __future__ import annotations

import os
import select
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rushes.client.curl import CurlTransport
from rushes.client.http import Cancel, Reply, Request, Stopped, Transport
from rushes.client.plain import PlainTransport
from rushes.client.source import LocalFile
from rushes.client.transports import choose
from rushes.errors import Misconfigured, Problem, Unavailable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Name: value\r\n\r\nok"

KINDS = (CurlTransport, PlainTransport)


class OverMany(CurlTransport):
    """Each request alone through what is for many at once: it keeps the same promises."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._one = self.many()

    def send(self, request: Request, cancel: Cancel | None = None) -> Reply:
        if request.body is not None and not isinstance(request.body, bytes):
            request = replace(request, body=bytes(request.body.read(request.body.length)))
        self._one.start(self, request)
        while True:
            if cancel is not None and cancel.is_set():
                self._one.drop(self)
                raise Stopped("stopped", "Stopped.")
            for _, came in self._one.turn(0.05):
                if isinstance(came, Problem):
                    raise came
                return came


@contextmanager
def peer(behave: Callable[[socket.socket], None], context: ssl.SSLContext | None = None) -> Iterator[str]:
    """A server that gives each connection to `behave`, in a thread of its own."""
    threads: list[threading.Thread] = []

    def serve(listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=talk, args=(connection,)))
            threads[-1].start()

    def talk(connection: socket.socket) -> None:
        with suppress(OSError), connection:  # the client may hang up
            if context is None:
                behave(connection)
            else:
                with context.wrap_socket(connection, server_side=True) as wrapped:
                    behave(wrapped)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        accepting = threading.Thread(target=serve, args=(listener,))
        accepting.start()
        try:
            yield f"http{'s' if context else ''}://localhost:{listener.getsockname()[1]}"
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for thread in threads:
                thread.join()


def read_head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionResetError
        head += chunk
    return head


def silent(seconds: float) -> Callable[[socket.socket], None]:
    """Reads one byte, says nothing, and hangs up when the other side does or after `seconds`."""

    def behave(connection: socket.socket) -> None:
        connection.recv(1)
        waiting = select.poll()
        waiting.register(connection, select.POLLRDHUP)
        waiting.poll(seconds * 1000)

    return behave


@pytest.fixture(params=KINDS)
def transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    made: Transport = request.param(connect_seconds=2, stall_seconds=0.5, reply_seconds=1.5)
    yield made
    made.close()


@pytest.fixture(params=(*KINDS, OverMany))
def any_transport(request: pytest.FixtureRequest) -> Iterator[Transport]:
    made: Transport = request.param(connect_seconds=2, stall_seconds=0.5, reply_seconds=1.5)
    yield made
    made.close()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_reply_comes_whole(any_transport: Transport) -> None:
    heads: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        for _ in range(2):
            heads.append(read_head(connection))
            connection.sendall(b"HTTP/1.1 100 Continue\r\nX-Early: yes\r\n\r\n" + OK)

    with peer(behave) as url:
        for _ in range(2):  # the second on the same connection
            reply = any_transport.send(Request("GET", url, {"X-Mine": "1"}))
            assert (reply.status, reply.body, reply.headers["x-name"]) == (200, b"ok", "value")
            assert "x-early" not in reply.headers
    assert b"X-Mine: 1" in heads[0]
    assert b"Expect" not in heads[0]


def test_a_fresh_request_takes_a_new_connection(any_transport: Transport) -> None:
    ports: list[int] = []

    def behave(connection: socket.socket) -> None:
        while True:
            read_head(connection)
            ports.append(connection.getpeername()[1])
            connection.sendall(OK)

    with peer(behave) as url:
        any_transport.send(Request("GET", url))
        any_transport.send(Request("GET", url))
        any_transport.send(Request("GET", url, fresh=True))
        any_transport.close()
    assert ports[0] == ports[1] != ports[2]


def test_nobody_there(any_transport: Transport) -> None:
    with pytest.raises(Unavailable) as caught:
        any_transport.send(Request("GET", f"http://127.0.0.1:{free_port()}/secret?sig=1"))
    assert caught.value.code == "network_refused"
    assert "secret" not in caught.value.message


def test_no_such_name(any_transport: Transport) -> None:
    with pytest.raises(Unavailable) as caught:
        any_transport.send(Request("GET", "http://no-such-host.invalid/"))
    assert caught.value.code == "network_dns"


@pytest.mark.parametrize("url", ["ftp://localhost/", "file:///etc/passwd", "http://[::1/"])
def test_addresses_that_are_none(any_transport: Transport, url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        any_transport.send(Request("GET", url))
    assert caught.value.code == "url_invalid"


def test_a_redirect_is_not_followed(any_transport: Transport) -> None:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    with peer(behave) as url:
        assert any_transport.send(Request("GET", url)).status == 302


def test_silence_ends_a_request(any_transport: Transport) -> None:
    with peer(silent(20)) as url:
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            any_transport.send(Request("GET", url))
        assert caught.value.code == "network_stalled"
        assert 1.5 <= time.monotonic() - started < 5


def test_kept_connections_of_the_time_of_a_silence_are_not_taken_again(transport: Transport) -> None:
    """The network was changed, or a router forgot them: all are as dead as the first."""
    both = threading.Barrier(2)

    def behave(connection: socket.socket) -> None:
        read_head(connection)
        if not both.broken:
            both.wait(5)
        connection.sendall(OK)
        silent(5)(connection)

    with peer(behave) as url:
        threads = [threading.Thread(target=transport.send, args=(Request("GET", url),)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        both.abort()
        with pytest.raises(Unavailable, match="without a byte"):
            transport.send(Request("GET", url))
        assert transport.send(Request("GET", url)).status == 200
        transport.close()


def test_after_a_silence_no_kept_connection_of_many_is_taken_again() -> None:
    """Nor is one while others of the time are under way."""
    ports: dict[str, list[int]] = {}

    def behave(connection: socket.socket) -> None:
        while True:
            path = read_head(connection).split()[1].decode()
            ports.setdefault(path, []).append(connection.getpeername()[1])
            if path == "/silent":
                silent(5)(connection)
                return
            connection.sendall(OK)

    made = CurlTransport(stall_seconds=0.3, reply_seconds=0.3)
    many = made.many()

    def go(*paths: str) -> dict[object, Reply | Problem]:
        for path in paths:
            many.start(path, Request("GET", f"{url}{path}"))
        came: dict[object, Reply | Problem] = {}
        while len(came) < len(paths):
            came.update(many.turn(0.05))
        return came

    with peer(behave) as url:
        go("/a", "/b")
        came = go("/silent", "/a")
        assert isinstance(came["/silent"], Unavailable)
        go("/a", "/b")
        made.close()
    assert ports["/a"][1] in {ports["/a"][0], ports["/b"][0]}, "kept while all is well"
    assert not {ports["/a"][2], ports["/b"][1]} & {*ports["/a"][:2], ports["/b"][0], *ports["/silent"]}


def test_one_of_many_is_dropped_and_a_sleeper_is_woken() -> None:
    many = CurlTransport().many()
    with peer(silent(5)) as url:
        many.start("gone", Request("GET", url))
        threading.Timer(0.1, many.wake).start()
        started = time.monotonic()
        assert many.turn(20) == []
        assert time.monotonic() - started < 10
        many.drop("gone")
        many.drop("gone")
        assert many.turn(0.1) == []
        many.close()


def test_a_body_that_does_not_move_is_cut_sooner(transport: Transport, make_file: Callable[..., Path]) -> None:
    with (
        peer(silent(5)) as url,
        LocalFile(make_file(50 << 20)) as file,
    ):
        started = time.monotonic()
        with pytest.raises(Unavailable, match="without a byte"):
            transport.send(Request("PUT", url, body=file.slice(0, file.size)))
        assert time.monotonic() - started < 4.5


def test_a_slow_line_is_no_error(any_transport: Transport) -> None:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        for byte in OK[:-1]:
            connection.sendall(bytes([byte]))
            time.sleep(0.04)
        connection.sendall(OK[-1:])

    with peer(behave) as url:
        assert any_transport.send(Request("GET", url)).body == b"ok"


def test_a_limit_on_the_whole_time_is_kept(any_transport: Transport) -> None:
    with peer(silent(20)) as url:
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            any_transport.send(Request("GET", url, seconds=0.3))
        assert caught.value.code == "network_timeout"
        assert time.monotonic() - started < 1.2


def test_cancel_ends_a_request_within_about_a_second(any_transport: Transport) -> None:
    cancel = threading.Event()
    with peer(silent(20)) as url:
        threading.Timer(0.2, cancel.set).start()
        started = time.monotonic()
        with pytest.raises(Stopped):
            any_transport.send(Request("GET", url), cancel)
        assert time.monotonic() - started < 3


def test_a_broken_connection(any_transport: Transport) -> None:
    with peer(silent(0)) as url:
        with pytest.raises(Unavailable) as caught:
            any_transport.send(Request("GET", url))
        assert caught.value.code == "network_broken"


def test_a_kept_connection_that_died_is_replaced_unseen(
    any_transport: Transport, make_file: Callable[..., Path]
) -> None:
    """The body is rewound: the server sees it whole on the second connection."""
    received: list[int] = []

    def behave(connection: socket.socket) -> None:
        head = read_head(connection)
        length = 1000 if b"PUT" in head else 0
        got = len(head.partition(b"\r\n\r\n")[2])
        while got < length:
            got += len(connection.recv(65536))
        received.append(got)
        connection.sendall(OK)  # and hang up without saying so

    with peer(behave) as url, LocalFile(make_file(1000)) as file:
        any_transport.send(Request("GET", url))
        time.sleep(0.1)
        assert any_transport.send(Request("PUT", url, body=file.slice(0, 1000))).status == 200
    assert received == [0, 1000]


def test_a_file_cut_short_is_said_and_not_mistaken_for_the_line(
    transport: Transport, make_file: Callable[..., Path]
) -> None:
    path = make_file(3 << 20)

    def behave(connection: socket.socket) -> None:
        while connection.recv(65536):
            pass

    with peer(behave) as url, LocalFile(path) as file:
        os.truncate(path, 1 << 20)
        with pytest.raises(Exception, match="was changed") as caught:
            transport.send(Request("PUT", url, body=file.slice(0, 3 << 20)))
    assert getattr(caught.value, "code", "") == "file_changed"


def test_an_endless_reply_is_refused(any_transport: Transport) -> None:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(1 << 20))

    with peer(behave) as url, pytest.raises(Unavailable) as caught:
        any_transport.send(Request("GET", url))
    assert caught.value.code == "reply_too_large"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    directory = tmp_path_factory.mktemp("tls")
    pem, key = directory / "cert.pem", directory / "key.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", pem, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    return pem, key


@pytest.mark.parametrize("kind", [*KINDS, OverMany])
def test_tls_is_verified_by_the_bundle_of_the_environment(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, kind: type[CurlTransport | PlainTransport]
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)

    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(OK)

    with peer(behave, context) as url:
        stranger = kind()
        with pytest.raises(Misconfigured) as caught:
            stranger.send(Request("GET", url))
        assert caught.value.code == "tls_untrusted"
        stranger.close()
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
        friend = kind()
        assert friend.send(Request("GET", url)).body == b"ok"
        friend.close()


def test_the_environment_may_choose_the_plain_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RUSHES_TRANSPORT", raising=False)
    assert isinstance(choose("rushes"), CurlTransport)
    monkeypatch.setenv("RUSHES_TRANSPORT", "plain")
    assert isinstance(choose("rushes"), PlainTransport)


def test_without_libcurl_the_client_runs_all_the_same() -> None:
    code = "import sys; sys.modules['pycurl'] = None; from rushes.client import Client; print(Client('http://h', 't')._transport)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "PlainTransport" in done.stdout
