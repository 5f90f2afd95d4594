"""The courier: brings one part to storage, by the way that was decided, and says what came of it.

Straight under its grant; or through the API, whole, or in slices one after the other, of which those that the server holds
already are left out. Every body is read as fast as the rate limit lets it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from uuid import UUID

from rushes.checksum import HEADERS
from rushes.client.actions import Put
from rushes.client.calls import Caller
from rushes.client.hedge import Flight
from rushes.client.http import Body, Reply, Request, Stopped, Transport
from rushes.client.pace import Paced, RateLimit
from rushes.client.source import LocalFile
from rushes.client.verdict import Move, Verdict, judge, judge_relay, unanswered, without_etag
from rushes.errors import Problem, Unavailable
from rushes.model import ChecksumAlgorithm
from rushes.wire import Grant, PartView

OnSent = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A `Cancel`: until its upload is stopped, or another copy of the part has landed."""

    stop: threading.Event
    flight: Flight

    def is_set(self) -> bool:
        return self.flight.dropped or self.stop.is_set()


class Courier:
    """For the parts of one upload. Used by many threads at once."""

    def __init__(
        self,
        transport: Transport,
        rate: RateLimit,
        caller: Caller,
        upload_id: UUID,
        file: LocalFile,
        algorithm: ChecksumAlgorithm,
    ) -> None:
        self._transport = transport
        self._rate = rate
        self._caller = caller
        self._upload_id = upload_id
        self._file = file
        self._header = HEADERS[algorithm]

    def bring(self, put: Put, flight: Flight, wanted: Wanted, on_sent: OnSent) -> str | Verdict:
        """The part's ETag, or the verdict on why it has none. `on_sent` hears how many of its bytes have left so far.

        Raises `Stopped`.
        """
        try:
            if flight.relayed and put.slice is not None and put.slice < flight.length:
                return self._in_slices(put, flight, put.slice, wanted, on_sent)
            return self._whole(put, flight, wanted, on_sent)
        except Stopped:
            raise
        except Problem as problem:
            return unanswered(problem)

    def _whole(self, put: Put, flight: Flight, wanted: Wanted, on_sent: OnSent) -> str | Verdict:
        body = Paced(self._file.slice(put.offset, flight.length), self._rate, wanted.is_set)
        if put.grant is None:
            request = replace(self._relayed(put, body, {}), fresh=put.fresh, on_sent=on_sent)
        else:
            request = direct(put, put.grant, body, on_sent)
        return judged(flight, self._transport.send(request, wanted))

    def _in_slices(self, put: Put, flight: Flight, size: int, wanted: Wanted, on_sent: OnSent) -> str | Verdict:
        held = self._caller.call("GET", self._address(put), PartView)
        if held.etag is not None and held.checksum == put.checksum:
            return held.etag
        sent, fresh = 0, put.fresh
        for first, last in missing(held.received, flight.length, size):
            body = Paced(self._file.slice(put.offset + first, last - first + 1), self._rate, wanted.is_set)
            request = self._relayed(put, body, {"Content-Range": f"bytes {first}-{last}/{flight.length}"})
            reply = self._transport.send(replace(request, fresh=fresh, on_sent=_behind(sent, on_sent)), wanted)
            if not 200 <= reply.status < 300:
                return judge_relay(reply)
            sent, fresh = sent + body.length, False
            on_sent(sent)
            if (etag := reply.headers.get("etag")) is not None:
                return etag
        return Verdict(Move.RETRY, Unavailable("slices_waiting", "The server puts the slices of a part together."), 1.0)

    def _relayed(self, put: Put, body: Paced, headers: dict[str, str]) -> Request:
        if put.grant is not None:  # it leads through the API
            return Request(put.grant.method, put.grant.url, {**put.grant.headers, **headers}, body)
        return self._caller.request("PUT", self._address(put), {self._header: put.checksum, **headers}, body)

    def _address(self, put: Put) -> str:
        return f"v1/uploads/{self._upload_id}/parts/{put.number}"


def direct(put: Put, grant: Grant, body: Body | bytes, on_sent: OnSent) -> Request:
    """A whole part, as its grant says."""
    return Request(grant.method, grant.url, grant.headers, body, fresh=put.fresh, on_sent=on_sent)


def judged(flight: Flight, came: Reply | Problem) -> str | Verdict:
    """The ETag of a part that was sent whole, or the verdict on why it has none."""
    if isinstance(came, Problem):
        return unanswered(came)
    if not 200 <= came.status < 300:
        return judge_relay(came) if flight.relayed else judge(came)
    return came.headers.get("etag") or without_etag(came)


def _behind(before: int, on_sent: OnSent) -> OnSent:
    return lambda count: on_sent(before + count)


def missing(held: Iterable[tuple[int, int]], length: int, size: int) -> Iterator[tuple[int, int]]:
    """First and last byte of slices of `size` bytes that complete a part of `length` bytes, of which `held` is there.

    A slice may begin in the middle, but no slice but the last is smaller than `size`: the server takes none below 1 MiB.
    """
    at = 0
    for first, last in [*sorted(held), (length, length)]:
        while at < first:
            end = min(at + size, length)
            yield at, end - 1
            at = end
        at = max(at, last + 1)
