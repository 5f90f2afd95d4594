"""The bad line itself: what it counts, delays, limits and breaks is what the tests that use it believe."""

from __future__ import annotations

import socket
import socketserver
import threading
import time
from collections.abc import Iterator

import pytest

from tests.client.line import Line

MIB = 1 << 20


class Echo(socketserver.BaseRequestHandler):
    """Says how many bytes came, once the other side has said all."""

    def handle(self) -> None:
        count = 0
        try:
            while data := self.request.recv(65_536):
                count += len(data)
            self.request.sendall(f"{count}".encode())
        except OSError:
            return


@pytest.fixture
def echo() -> Iterator[str]:
    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Echo) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def said(line: Line, count: int, timeout: float = 20) -> int:
    """What the server says of `count` bytes sent to it. Raises what the socket raises."""
    host, port = line.address.split(":")
    with socket.create_connection((host, int(port)), timeout=timeout) as peer:
        peer.sendall(bytes(count))
        peer.shutdown(socket.SHUT_WR)
        answer = peer.recv(100)
    if not answer:
        raise ConnectionResetError
    return int(answer)


def test_everything_passes_and_is_counted(echo: str) -> None:
    with Line(echo) as line:
        assert said(line, 3 * MIB) == 3 * MIB
        assert (line.up, line.down, line.opened, line.resets) == (3 * MIB, len(str(3 * MIB)), 1, 0)


def test_a_rate_is_that_of_all_connections(echo: str) -> None:
    with Line(echo) as line:
        line.weather(rate=4 * MIB)
        started = time.monotonic()
        threads = [threading.Thread(target=said, args=(line, MIB)) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 0.4 < time.monotonic() - started < 2


def test_a_rate_of_each_leaves_the_others_theirs(echo: str) -> None:
    with Line(echo) as line:
        line.weather(rate_each=2 * MIB)
        started = time.monotonic()
        assert said(line, MIB) == MIB
        assert 0.4 < time.monotonic() - started < 2


def test_a_delay_is_met_both_ways_and_at_the_beginning(echo: str) -> None:
    with Line(echo) as line:
        line.weather(delay=0.1)
        started = time.monotonic()
        assert said(line, 100) == 100
        assert 0.38 < time.monotonic() - started < 2, (
            "there and back for the connection, there and back for what was said"
        )


def test_a_doom_strikes_the_next_connection_at_its_byte(echo: str) -> None:
    with Line(echo) as line:
        line.doom("reset", after=MIB)
        with pytest.raises(OSError, match=r"reset|Broken pipe|not connected|^$"):
            said(line, 20 * MIB)
        assert MIB <= line.up < MIB + 65_537
        assert line.resets == 1
        assert said(line, MIB) == MIB, "one was meant"


def test_resets_come_as_often_as_was_said_and_from_the_seed(echo: str) -> None:
    seen = []
    for _ in range(2):
        with Line(echo, seed=5) as line:
            line.weather(resets=0.5)
            broken = 0
            for _ in range(40):
                try:
                    said(line, MIB)
                except OSError:
                    broken += 1
            seen.append(broken)
            assert line.resets == broken
    assert seen[0] == seen[1]
    assert 8 <= seen[0] <= 24, "e^-0.5 of them live: 16 of 40 are expected to break"


def test_silence_keeps_the_connection_and_moves_nothing(echo: str) -> None:
    with Line(echo) as line:
        line.doom("silence", after=1)
        with pytest.raises(TimeoutError):
            said(line, 100, timeout=0.3)
        assert said(line, 100) == 100


def test_a_hole_passes_and_a_cut_does_not(echo: str) -> None:
    with Line(echo) as line:
        line.weather(hole=True)
        threading.Timer(0.2, line.clear).start()
        assert said(line, MIB) == MIB
        line.weather(hole=True)
        threading.Timer(0.2, line.cut).start()
        with pytest.raises(OSError, match=r"reset|Broken pipe|not connected|^$"):
            said(line, 20 * MIB)


def test_refused_is_refused_and_comes_back_at_the_same_port(echo: str) -> None:
    with Line(echo) as line:
        line.weather(refuses=True)
        with pytest.raises(ConnectionRefusedError):
            said(line, 1)
        line.clear()
        assert said(line, 1) == 1


def test_an_upstream_that_is_away_is_a_reset_and_may_be_changed(echo: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with Line(f"http://127.0.0.1:{port}") as line:
        with pytest.raises(OSError, match=r"reset|Broken pipe|not connected|^$"):
            said(line, MIB)
        line.upstream = echo
        assert said(line, MIB) == MIB
