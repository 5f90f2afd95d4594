"""A task, and a program, that tries what a decoder taken over by a file would try, and tells what it could do."""

from __future__ import annotations

import ctypes
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any


def main(arguments: dict[str, Any], feed: int) -> None:
    from rushes.media.inside import talk

    talk.run(lambda given, _, __: attempts(given), arguments, feed)


def attempts(given: dict[str, Any]) -> dict[str, Any]:
    """What was tried: its result, or the name of the error."""
    tries: dict[str, Callable[[], object]] = {
        "uid": os.geteuid,
        "canary": lambda: Path(given["canary"]).read_text(),
        "passwd": lambda: Path("/etc/passwd").read_text(),
        "host processes": lambda: list(Path(f"/proc/{given['worker']}/fd").iterdir()),
        "write elsewhere": lambda: Path(given["canary"]).write_text("changed"),
        "write outside": lambda: Path(given["outside"], "left-behind").write_text("x"),
        "write here": lambda: Path("here").write_text("fine"),
        "link here": lambda: Path("link").symlink_to(given["canary"]),
        "host port": lambda: _connect(given["port"]),
        "unix socket": lambda: socket.socket(socket.AF_UNIX),
        "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
        "udp": lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"x", ("8.8.8.8", 53)),
        "fork": lambda: os.fork() or os._exit(0),
        "kill worker": lambda: os.kill(given["worker"], 0),
        "new session": os.setsid,
        "become root": lambda: os.setresuid(0, 0, 0),
        "mount": lambda: _call("mount", b"none", b".", b"tmpfs", 0, None),
        "ptrace": lambda: _call("ptrace", 16, given["worker"], None, None),
        "user namespace": lambda: _call("unshare", 0x10000000),
    }
    return {name: _try(what) for name, what in tries.items()}


def _try(what: Callable[[], object]) -> object:
    try:
        result = what()
    except OSError as error:
        return f"refused: {type(error).__name__} {error.errno}"
    return result if isinstance(result, (int, str)) else "done"


def _connect(port: int) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.settimeout(2)
        connection.connect(("127.0.0.1", port))


def _call(name: str, *arguments: Any) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if getattr(library, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)


if __name__ == "__main__":
    import sys

    print(json.dumps(attempts(json.loads(sys.argv[1]))))
