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
from pathlib import Path

import pytest

from rushes.client.curl import CurlTransport
from rushes.client.http import Request, Stopped, Transport
from rushes.client.plain import PlainTransport
from rushes.client.source import LocalFile
from rushes.client.transports import choose
from rushes.errors import Misconfigured, Unavailable

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Name: value\r\n\r\nok"

KINDS = (CurlTransport, PlainTransport)


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


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_a_reply_comes_whole(transport: Transport) -> None:
    heads: list[bytes] = []

    def behave(connection: socket.socket) -> None:
        for _ in range(2):
            heads.append(read_head(connection))
            connection.sendall(b"HTTP/1.1 100 Continue\r\nX-Early: yes\r\n\r\n" + OK)

    with peer(behave) as url:
        for _ in range(2):  # the second on the same connection
            reply = transport.send(Request("GET", url, {"X-Mine": "1"}))
            assert (reply.status, reply.body, reply.headers["x-name"]) == (200, b"ok", "value")
            assert "x-early" not in reply.headers
    assert b"X-Mine: 1" in heads[0]
    assert b"Expect" not in heads[0]


def test_a_fresh_request_takes_a_new_connection(transport: Transport) -> None:
    ports: list[int] = []

    def behave(connection: socket.socket) -> None:
        while True:
            read_head(connection)
            ports.append(connection.getpeername()[1])
            connection.sendall(OK)

    with peer(behave) as url:
        transport.send(Request("GET", url))
        transport.send(Request("GET", url))
        transport.send(Request("GET", url, fresh=True))
        transport.close()
    assert ports[0] == ports[1] != ports[2]


def test_nobody_there(transport: Transport) -> None:
    with pytest.raises(Unavailable) as caught:
        transport.send(Request("GET", f"http://127.0.0.1:{free_port()}/secret?sig=1"))
    assert caught.value.code == "network_refused"
    assert "secret" not in caught.value.message


def test_no_such_name(transport: Transport) -> None:
    with pytest.raises(Unavailable) as caught:
        transport.send(Request("GET", "http://no-such-host.invalid/"))
    assert caught.value.code == "network_dns"


@pytest.mark.parametrize("url", ["ftp://localhost/", "file:///etc/passwd", "http://[::1/"])
def test_addresses_that_are_none(transport: Transport, url: str) -> None:
    with pytest.raises(Misconfigured) as caught:
        transport.send(Request("GET", url))
    assert caught.value.code == "url_invalid"


def test_a_redirect_is_not_followed(transport: Transport) -> None:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n")

    with peer(behave) as url:
        assert transport.send(Request("GET", url)).status == 302


def test_silence_ends_a_request(transport: Transport) -> None:
    with peer(silent(20)) as url:
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            transport.send(Request("GET", url))
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


def test_a_body_that_does_not_move_is_cut_sooner(transport: Transport, make_file: Callable[..., Path]) -> None:
    with (
        peer(silent(5)) as url,
        LocalFile(make_file(50 << 20)) as file,
    ):
        started = time.monotonic()
        with pytest.raises(Unavailable, match="without a byte"):
            transport.send(Request("PUT", url, body=file.slice(0, file.size)))
        assert time.monotonic() - started < 4.5


def test_a_slow_line_is_no_error(transport: Transport) -> None:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        for byte in OK[:-1]:
            connection.sendall(bytes([byte]))
            time.sleep(0.04)
        connection.sendall(OK[-1:])

    with peer(behave) as url:
        assert transport.send(Request("GET", url)).body == b"ok"


def test_a_limit_on_the_whole_time_is_kept(transport: Transport) -> None:
    with peer(silent(20)) as url:
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            transport.send(Request("GET", url, seconds=0.3))
        assert caught.value.code == "network_timeout"
        assert time.monotonic() - started < 1.2


def test_cancel_ends_a_request_within_about_a_second(transport: Transport) -> None:
    cancel = threading.Event()
    with peer(silent(20)) as url:
        threading.Timer(0.2, cancel.set).start()
        started = time.monotonic()
        with pytest.raises(Stopped):
            transport.send(Request("GET", url), cancel)
        assert time.monotonic() - started < 3


def test_a_broken_connection(transport: Transport) -> None:
    with peer(silent(0)) as url:
        with pytest.raises(Unavailable) as caught:
            transport.send(Request("GET", url))
        assert caught.value.code == "network_broken"


def test_a_kept_connection_that_died_is_replaced_unseen(transport: Transport, make_file: Callable[..., Path]) -> None:
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
        transport.send(Request("GET", url))
        time.sleep(0.1)
        assert transport.send(Request("PUT", url, body=file.slice(0, 1000))).status == 200
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


def test_an_endless_reply_is_refused(transport: Transport) -> None:
    def behave(connection: socket.socket) -> None:
        read_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            connection.sendall(bytes(1 << 20))

    with peer(behave) as url, pytest.raises(Unavailable) as caught:
        transport.send(Request("GET", url))
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


@pytest.mark.parametrize("kind", KINDS)
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
