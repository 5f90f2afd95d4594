"""Whether a local server answers yet."""

from __future__ import annotations

import http.client
import socket

INSTANCE = "X-Rushes-Instance"


def answers(host: str, port: int, path: str, instance: str | None = None) -> bool:
    """Whether GET `path` is answered with 200 within two seconds. Asks directly, whatever proxy is configured.

    With `instance`, the answer must repeat it: a port may have been taken by another program meanwhile.
    """
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", path)
        reply = connection.getresponse()
        return reply.status == http.HTTPStatus.OK and instance in {None, reply.headers.get(INSTANCE)}
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def listens(port: int) -> bool:
    """Whether a TCP connection to this port of the loopback address is accepted."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
