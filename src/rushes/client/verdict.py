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
from rushes.errors import Conflict, Forbidden, Misconfigured, NotFound, Problem, Rejected, Unauthenticated, Unavailable


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
    busy: bool = False  # the store says that it is sent too much at once
    foreign: bool = False  # what answered is not a store, or not the right one: another way may help
    too_large: bool = False  # something on the way lets no such body through, or not in its time
    crowded: bool = False  # the API relays as much as it can
    no_door: bool = False  # the API does not relay


@dataclass(slots=True)
class Trouble:
    """One part's, or the server's, failures in a row."""

    since: float
    tries: int = 0
    refusals: int = 0


_REREAD = frozenset({"BadDigest", "InvalidDigest", "XAmzContentChecksumMismatch", "checksum_mismatch"})
_TRANSIENT = frozenset({"RequestTimeout", "RequestTimeTooSkewed", "IncompleteBody", "OperationAborted", "SlowDown"})
_AGAIN = frozenset({"part_superseded", "body_short"})  # of a relay
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
            foreign=reply.status in {502, 504} and not code,  # a proxy's page
        )
    stranger = not code  # a store says why; a filter or a portal between shows a page
    if reply.status in {401, 403}:
        return Verdict(
            Move.REGRANT,
            Forbidden("grant_refused", f"The object store refuses what the server granted ({said})."),
            foreign=stranger,
        )
    if reply.status == 404 or code in _GONE:
        return Verdict(
            Move.REGRANT,
            Conflict("storage_upload_gone", f"The object store does not know this upload ({said})."),
            foreign=stranger,
        )
    if 300 <= reply.status < 400:
        return Verdict(
            Move.GIVE_UP,
            Misconfigured("storage_redirects", f"The object store answers with a redirect ({said})."),
            foreign=True,
        )
    refused = Rejected("part_refused", f"The object store refuses a part ({said}).")
    return Verdict(Move.GIVE_UP, refused, foreign=stranger, too_large=reply.status == 413)


def judge_relay(reply: Reply) -> Verdict:
    """The verdict on a part, or a slice of one, that was sent through the API and answered with anything but success."""
    code, message = _reason(reply)
    ours = bool(code) and reply.body.lstrip().startswith(b"{")
    said = message if ours and message else f"HTTP {reply.status}"
    if reply.status in {408, 413, 504} or code == "sender_too_slow":
        problem = Unavailable(
            "relay_too_large", f"Something on the way to the server takes no body of this size ({said})."
        )
        return Verdict(Move.RETRY, problem, _pause(reply), too_large=True)
    if code in _REREAD:
        return Verdict(
            Move.REREAD, Unavailable("part_corrupted", f"The server received other bytes than were read ({said}).")
        )
    if (reply.status >= 500 and reply.status != 501) or reply.status in {425, 429} or code in _AGAIN:
        problem = Unavailable(code if ours else "relay_unavailable", f"The server could not take a part ({said}).")
        return Verdict(Move.RETRY, problem, _pause(reply), crowded=code == "relay_busy")
    if not ours:
        refused = Rejected("relay_refused", f"The server takes no parts in place of the object store ({said}).")
        return Verdict(Move.RETRY, refused, no_door=True)
    kind = {401: Unauthenticated, 403: Forbidden, 404: NotFound, 409: Conflict}.get(reply.status, Rejected)
    return Verdict(Move.GIVE_UP, kind(code, said))


def unanswered(problem: Problem) -> Verdict:
    """The verdict on a PUT that ended without an answer."""
    move = Move.GIVE_UP if problem.permanent else Move.RETRY
    return Verdict(move, problem, foreign=problem.code in {"tls_untrusted", "network_tls"})


def without_etag(reply: Reply) -> Verdict:
    """Success without an ETag cannot be completed: a proxy between has taken the header away."""
    return Verdict(
        Move.RETRY,
        Unavailable("etag_missing", f"The object store answered {reply.status} without an ETag for a part."),
        foreign=True,
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
        except (ValueError, RecursionError):  # no JSON, or such as only bad will writes
            return "", ""
        return str(problem.get("code", "")), str(problem.get("detail", ""))
    return _element(text, "Code"), _element(text, "Message")


def _element(text: str, name: str) -> str:
    found = re.search(rf"<{name}>([^<]{{0,500}})</{name}>", text)
    return " ".join(found[1].split()) if found else ""
