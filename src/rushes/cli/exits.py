"""How a command ends: one plain sentence on stderr and a code that scripts can tell apart."""

from __future__ import annotations

import errno
import io
import os
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path

from rushes.client import Stopped
from rushes.client.uploader import REFUSED_TYPE
from rushes.errors import Invalid, Problem, Unavailable

OK = 0
UNEXPECTED = 1
USAGE = 2
REFUSED = 3
UNAVAILABLE = 4
PAUSED = 5
INTERRUPTED = 130

CODES = (
    (OK, "everything was done"),
    (UNEXPECTED, "something unexpected, or several things failed for different reasons"),
    (USAGE, "the command line, or a file that it names, cannot be used"),
    (REFUSED, "refused for good: token, quota, a file's type, state, undecodable media, configuration"),
    (UNAVAILABLE, "the server or the store does not answer, or a disk is full; the same command may work later"),
    (PAUSED, "paused, by `rushes pause` or by itself after a set time without progress; `rushes resume` goes on"),
    (INTERRUPTED, "stopped by Ctrl-C"),
)


def prepare() -> None:
    """Before anything is said: names that the terminal's encoding does not have are shown with marks, and what is closed is
    written to nowhere."""
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 - for as long as the process lives
    sys.stderr = sys.stderr or Path(os.devnull).open("w")  # noqa: SIM115
    for out in (sys.stdout, sys.stderr):
        if isinstance(out, io.TextIOWrapper):
            out.reconfigure(errors="replace")


def code_of(error: BaseException) -> int:
    if isinstance(error, Stopped):
        return INTERRUPTED
    if isinstance(error, Problem) and error.code == REFUSED_TYPE:
        return REFUSED
    if isinstance(error, Invalid):
        return USAGE
    if isinstance(error, Problem) and error.code in {"paused", "no_progress"}:
        return PAUSED
    if isinstance(error, Unavailable) or is_full(error):
        return UNAVAILABLE
    return REFUSED if isinstance(error, Problem) else UNEXPECTED


def common_code(codes: Iterable[int]) -> int:
    """The code of a command that did several things: what all failures share."""
    failed = {code for code in codes if code != OK}
    return failed.pop() if len(failed) == 1 else (UNEXPECTED if failed else OK)


def is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}


def sentence(error: BaseException) -> str:
    """What happened, for a person."""
    if isinstance(error, Problem):
        return error.message
    if isinstance(error, OSError) and is_full(error):
        where = f" while writing {error.filename}" if error.filename else ""
        return f"The disk is full{where}: free some space and try again."
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}{f': {error.filename}' if error.filename else ''}."
    return f"Something unexpected happened: {type(error).__name__}: {error}".rstrip(": ") + "."


def report(error: BaseException) -> int:
    """Say on stderr what `error` means; its exit code."""
    traced = trace(error)
    hint = "" if isinstance(error, (Problem, OSError)) or traced else " Run with RUSHES_DEBUG=1 for the traceback."
    print(f"rushes: {printable(sentence(error))}{hint}", file=sys.stderr)
    return code_of(error)


def trace(error: BaseException) -> bool:
    """Print the traceback, if RUSHES_DEBUG asks for it; whether it does."""
    wanted = bool(os.environ.get("RUSHES_DEBUG"))
    if wanted:
        traceback.print_exception(error)
    return wanted


def printable(text: str) -> str:
    """`text` without what could drive a terminal; line breaks and tabs stay."""
    return "".join(char if char.isprintable() or char in "\n\t" else "�" for char in text)


def one_line(text: str) -> str:
    """`text` on one line, without what could drive a terminal: for names, which may hold line breaks as well."""
    return "".join(char if char.isprintable() else "�" for char in text)
