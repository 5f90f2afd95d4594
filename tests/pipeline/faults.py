"""What can go wrong between the service and storage while an upload is finalized, by name."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Callable

from tests.pipeline.fault_proxy import Act, Call, Fault
from tests.storage.scripted import answer, error

NOT_FOUND = error("404 Not Found", "NoSuchUpload")
FAILURES = (
    error("500 Internal Server Error", "InternalError"),
    error("503 Slow Down", "SlowDown"),
    error("503 Service Unavailable", "ServiceUnavailable"),
    answer("502 Bad Gateway", "<html><h1>502 Bad Gateway</h1></html>", Content_Type="text/html"),
    answer("504 Gateway Timeout"),
)
REFUSALS = (
    error("403 Forbidden", "AccessDenied"),
    error("409 Conflict", "OperationAborted"),
    error("429 Too Many Requests", "TooManyRequests"),
)


def instead(*answers: bytes) -> Act:
    """One of these, and the call is not carried out."""

    async def act(call: Call, rng: random.Random) -> bytes:
        return rng.choice(answers)

    return act


def although_done(*answers: bytes) -> Act:
    """One of these, although the call is carried out."""

    async def act(call: Call, rng: random.Random) -> bytes:
        await call.forward()
        return rng.choice(answers)

    return act


async def hang(call: Call, rng: random.Random) -> None:
    """Never answered, never carried out."""


async def hang_done(call: Call, rng: random.Random) -> None:
    await call.forward()


async def land_late(call: Call, rng: random.Random) -> None:
    """Carried out when whoever asked has long given up."""

    async def later() -> None:
        await asyncio.sleep(rng.uniform(0.3, 1.5))
        await call.forward()

    _late.add(task := asyncio.create_task(later()))
    task.add_done_callback(_late.discard)


_late: set[asyncio.Task[None]] = set()


async def twice(call: Call, rng: random.Random) -> bytes:
    await call.forward()
    return await call.forward()


async def cut(call: Call, rng: random.Random) -> bytes:
    """The answer ends somewhere; most often before its first byte."""
    whole = await call.forward()
    return whole[: rng.choice((0, 0, rng.randrange(len(whole))))]


async def flip(call: Call, rng: random.Random) -> bytes:
    """One bit of the request's body is another."""
    return await call.forward(flipped(call.body, rng))


async def flip_read(call: Call, rng: random.Random) -> bytes:
    """One bit of what storage answers is another."""
    head, end, body = _unchunked(await call.forward()).partition(b"\r\n\r\n")
    return head + end + flipped(body, rng)


def flipped(body: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(body))
    return body[:at] + bytes([body[at] ^ 1 << rng.randrange(8)]) + body[at + 1 :]


def changing(change: Callable[[str, random.Random], str]) -> Act:
    """The answer, its text changed; lengths follow."""

    async def act(call: Call, rng: random.Random) -> bytes:
        whole = _unchunked(await call.forward())
        head, _, body = whole.partition(b"\r\n\r\n")
        head, body = (
            change(head.decode("latin-1"), rng).encode("latin-1"),
            change(body.decode("latin-1"), rng).encode("latin-1"),
        )
        if call.operation != "head":
            head = re.sub(rb"(?i)\r\ncontent-length: *\d+", b"", head) + f"\r\nContent-Length: {len(body)}".encode()
        return head + b"\r\n\r\n" + body

    return act


def _unchunked(whole: bytes) -> bytes:
    head, _, rest = whole.partition(b"\r\n\r\n")
    if b"chunked" not in head.lower():
        return whole
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return re.sub(rb"(?i)\r\ntransfer-encoding: [^\r]*", b"", head) + b"\r\n\r\n" + body


def without_quotes(text: str, rng: random.Random) -> str:
    text = re.sub(r'(?i)(\r\netag: *)"([^"\r]*)"', r"\1\2", text)
    return re.sub(r"<ETag>(?:&#34;|&quot;|\")([^<&\"]*)(?:&#34;|&quot;|\")</ETag>", r"<ETag>\1</ETag>", text)


def with_quotes(text: str, rng: random.Random) -> str:
    return re.sub(r"<ETag>([^<&\"]*)</ETag>", r"<ETag>&quot;\1&quot;</ETag>", without_quotes(text, rng))


def shuffled(text: str, rng: random.Random) -> str:
    parts = re.findall(r"<Part>.*?</Part>", text, flags=re.DOTALL)
    rng.shuffle(parts)
    return re.sub(r"<Part>.*?</Part>", lambda _: parts.pop(), text, flags=re.DOTALL)


def short_of_one(text: str, rng: random.Random) -> str:
    parts = re.findall(r"<Part>.*?</Part>", text, flags=re.DOTALL)
    return text.replace(rng.choice(parts), "", 1) if parts else text


ALWAYS = 10**6

# Each is made anew for every upload; `times` up to three lets a fault outlive the retries of one step.
FAULTS: dict[str, Callable[[random.Random], list[Fault]]] = {
    "complete is delivered twice": lambda rng: [Fault("complete", twice)],
    "the reply is lost": lambda rng: [Fault("complete", cut, rng.randint(1, 3))],
    "the reply is lost, then NoSuchUpload": lambda rng: [
        lost := Fault("complete", cut),
        Fault("complete list", instead(NOT_FOUND), ALWAYS, after=lost),
    ],
    "the reply is lost, then 500 for the unknown id": lambda rng: [
        lost := Fault("complete", cut),
        Fault("complete", instead(error("500 Internal Server Error", "UnknownError")), ALWAYS, after=lost),
        Fault("list", instead(NOT_FOUND), ALWAYS, after=lost),
    ],
    "200 with an error in it": lambda rng: [
        Fault("complete", instead(error("200 OK", rng.choice(("InternalError", "SlowDown")))), rng.randint(1, 3))
    ],
    "200 with an error in it, although done": lambda rng: [
        Fault("complete", although_done(error("200 OK", "InternalError")), rng.randint(1, 3))
    ],
    "200 with a page of a proxy's": lambda rng: [
        Fault("complete list head", instead(answer("200 OK", "<html>Welcome</html>")), rng.randint(1, 3))
    ],
    "5xx": lambda rng: [Fault("complete list head get", instead(*FAILURES), rng.randint(1, 6))],
    "5xx, although done": lambda rng: [Fault("complete", although_done(*FAILURES), rng.randint(1, 6))],
    "refused for a moment": lambda rng: [Fault("complete list", instead(*REFUSALS), rng.randint(1, 3))],
    "hangs": lambda rng: [Fault(rng.choice(("complete", "list", "head", "get")), hang, rng.randint(1, 3))],
    "hangs, although done": lambda rng: [Fault("complete", hang_done, rng.randint(1, 3))],
    "complete lands late": lambda rng: [Fault("complete", land_late, rng.randint(1, 2))],
    "NoSuchUpload for a moment": lambda rng: [Fault("complete list", instead(NOT_FOUND), rng.randint(1, 2))],
    "answers are cut": lambda rng: [Fault("complete list head get", cut, rng.randint(1, 6))],
    "a bit of Complete flips": lambda rng: [Fault("complete", flip, rng.randint(1, 3))],
    "parts are listed out of order": lambda rng: [Fault("list", changing(shuffled), ALWAYS)],
    "a part is not listed": lambda rng: [Fault("list", changing(short_of_one), 1)],
    "ETags without quotes": lambda rng: [Fault("complete list head part", changing(without_quotes), ALWAYS)],
    "ETags with quotes": lambda rng: [Fault("complete list head part", changing(with_quotes), ALWAYS)],
}
