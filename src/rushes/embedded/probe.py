"""Whether a local server answers yet."""

from __future__ import annotations

import http.client
import socket


def answers(host: str, port: int, path: str) -> bool:
    """Whether GET `path` is answered with 200 within two seconds. Asks directly, whatever proxy is configured."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listens(port: int) -> bool:
    """Whether a TCP connection to this port of the loopback address is accepted."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
