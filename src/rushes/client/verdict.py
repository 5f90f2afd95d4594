"""What the outcome of a PUT means for its part. Pure: statuses and codes in, one `Verdict` out.

Codes are S3's (docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html), from the XML of a store, or `rushes`' own
from the problem+json of a relay. A status decides where no code is known.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from enum import Enum

from rushes.client.http import Reply
from rushes.errors import Conflict, Forbidden, Misconfigured, Problem, Rejected, Unavailable


class Move(Enum):
    RETRY = "the same grant again, after a pause"
    REGRANT = "a new grant first: this one is expired, or bound to something storage no longer has"
    REREAD = "read the part again: what arrived is not what its checksum says"
    GIVE_UP = "no repetition will help"


@dataclass(frozen=True, slots=True)
class Verdict:
    move: Move
    problem: Problem
    pause: float = 0.0  # seconds the other side asked for
    busy: bool = False  # the other side says that it is sent too much at once


_REREAD = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "checksum_mismatch"})
_TRANSIENT = frozenset({"RequestTimeout", "RequestTimeTooSkewed", "IncompleteBody", "OperationAborted", "SlowDown"})
_GONE = frozenset({"NoSuchUpload"})
_FULL = re.compile(
    r"no space left|no free volumes|not enough space|disk is full|StorageFull|Insufficient ?Storage", re.IGNORECASE
)


def judge(reply: Reply) -> Verdict:
    """The verdict on a PUT that was answered with anything but success."""
    code, message = _reason(reply)
    said = f"{code or reply.status}{': ' + message if message else ''}"
    if reply.status == 507 or _FULL.search(f"{code} {message}"):
        return Verdict(
            Move.RETRY, Unavailable("storage_full", f"The object store has no room left ({said})."), _pause(reply)
        )
    if code in _REREAD:
        return Verdict(
            Move.REREAD, Unavailable("part_corrupted", f"Storage received other bytes than were read ({said}).")
        )
    if reply.status >= 500 or reply.status in {408, 425, 429} or code in _TRANSIENT:
        return Verdict(
            Move.RETRY,
            Unavailable("storage_unavailable", f"The object store could not take a part ({said})."),
            _pause(reply),
            busy=reply.status in {429, 503} or code == "SlowDown",
        )
    if reply.status in {401, 403}:
        return Verdict(
            Move.REGRANT, Forbidden("grant_refused", f"The object store refuses what the server granted ({said}).")
        )
    if reply.status == 404 or code in _GONE:
        return Verdict(
            Move.REGRANT, Conflict("storage_upload_gone", f"The object store does not know this upload ({said}).")
        )
    if 300 <= reply.status < 400:
        return Verdict(
            Move.GIVE_UP, Misconfigured("storage_redirects", f"The object store answers with a redirect ({said}).")
        )
    return Verdict(Move.GIVE_UP, Rejected("part_refused", f"The object store refuses a part ({said})."))


def unanswered(problem: Problem) -> Verdict:
    """The verdict on a PUT that ended without an answer."""
    return Verdict(Move.GIVE_UP if problem.permanent else Move.RETRY, problem)


def without_etag(reply: Reply) -> Verdict:
    """Success without an ETag cannot be completed: a proxy between has taken the header away."""
    return Verdict(
        Move.RETRY, Unavailable("etag_missing", f"The object store answered {reply.status} without an ETag for a part.")
    )


def retry_after(reply: Reply) -> float:
    """Seconds the reply asks to wait; 0 when it does not say so in seconds."""
    text = reply.headers.get("retry-after", "")
    return min(float(text), 300.0) if text.isascii() and text.isdigit() else 0.0


_pause = retry_after


def _reason(reply: Reply) -> tuple[str, str]:
    """Code and message of an S3 error document or a problem+json; empty where the body is neither."""
    text = reply.body[:20_000].decode("utf-8", "replace")
    if text.lstrip().startswith("{"):
        try:
            problem = json.loads(text)
        except ValueError:
            return "", ""
        return str(problem.get("code", "")), str(problem.get("detail", ""))
    return _element(text, "Code"), _element(text, "Message")


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]{{0,500}})</{name}>", text)
    return " ".join(found[1].split()) if found else ""
