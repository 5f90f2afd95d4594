"""The command at a terminal, with a person who answers what it asks."""

from __future__ import annotations

import os
import pty
import subprocess
import sys


def on_a_terminal(
    *arguments: object, environment: dict[str, str], asked: str = "", answer: str = "", term: str = "xterm"
) -> tuple[int, str]:
    """Run `rushes` to its end: exit code, and all that was shown. `answer` is typed once `asked` is on the screen."""
    leader, follower = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "rushes", *map(str, arguments)],
        env=environment | {"TERM": term},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
    ) as process:
        os.close(follower)
        shown, typed = b"", not asked
        while chunk := _read(leader):
            shown += chunk
            if not typed and asked.encode() in shown:
                typed = True
                os.write(leader, f"{answer}\n".encode())
    os.close(leader)
    return process.returncode, shown.decode()


def _read(leader: int) -> bytes:
    """Nothing, when the command has ended."""
    try:
        return os.read(leader, 65536)
    except OSError:  # EIO: the other side is closed
        return b""
