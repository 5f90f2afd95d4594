"""Become another program whose life ends with its parent's. Run as a script, before every child of the embedded stack.

    python -I -S launch.py PARENT_PID DEATH_SIGNAL UID:GID|- PROGRAM [ARGUMENT…]

A program of its own instead of a `preexec_fn`: that one runs between fork and exec, where a lock held by any other
thread of the parent would hang the child, and Python 3.12 warns of it. Costs about 20 ms a start. Exits 126 when
it may not change user, 127 when the program cannot be run.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def _become(account: str) -> None:
    uid, gid = (int(part) for part in account.split(":"))
    os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)


def main(arguments: list[str]) -> int:
    parent, death_signal, account, *command = arguments
    libc = ctypes.CDLL(None, use_errno=True)
    if account != "-":
        try:
            _become(account)
        except OSError as error:
            sys.stderr.write(f"cannot become user {account}: {error.strerror}\n")
            return 126
    # After setuid, because a change of user clears it; kept through execve.
    if libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0) != 0:
        sys.stderr.write(f"prctl(PR_SET_PDEATHSIG): {os.strerror(ctypes.get_errno())}\n")
        return 126
    # The parent may have died before the line above: then nothing would ever signal this process.
    if os.getppid() != int(parent):
        return 125
    # Python ignores both, and an ignored signal stays ignored through execve.
    # Python ignores the first two; a shell's background job the others. SIGHUP stays as nohup left it.
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execv(command[0], command)  # noqa: S606 - becoming that program is the whole purpose
    except OSError as error:
        sys.stderr.write(f"cannot run {command[0]}: {error.strerror}\n")
    return 127


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
