"""Which way parts go: straight to storage, or through the API by relay, and there whole or in slices. Pure.

One for all uploads of an engine, because a firewall stands before all of them. A store that cannot be reached twice in a
row (no connection, no name, no TLS, silence from the start, an answer that is not a store's) is *shut*: parts go by relay
at once. After 30 seconds one part tries the store again, then after twice as long, up to ten minutes; when it gets there,
the way is open to all. When the API cannot be reached either, the network is away and nothing was learned: the store is
tried again at once.

A body that something on the way to the API does not let through (413, a proxy's timeout, silence, a connection that breaks
in the middle) is followed by slices of 5 MiB, then of 1 MiB.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from rushes.client.hedge import Flight
from rushes.client.verdict import Verdict
from rushes.wire import Grant

MIB = 1 << 20
STRIKES = 2
UNHEARD = 2 * MIB  # bytes that the kernel takes for a server that hears none of them, at the most
TRY_AGAIN = 30.0  # seconds until a store that was shut is tried again; doubles
TRY_AGAIN_MOST = 600.0
SLICES = (None, 5 * MIB, MIB)  # None: the whole part
RELAYS = 4  # bodies relayed at once: the API shares its places among all
UNREACHED = frozenset(
    {"network_refused", "network_dns", "network_tls", "network_timeout", "network_proxy", "tls_untrusted"}
)
CUT = frozenset({"network_broken", "network_stalled"})
CUT_OF_RELAY = CUT | {"relay_unavailable"}


@dataclass(slots=True)
class _Store:
    strikes: int = 0
    pause: float = 0.0  # seconds; 0 while it is open
    again_at: float = 0.0
    trying: bool = False


class Ways:
    """Not locked: its owner is. A store is named by the host of its URLs."""

    def __init__(self) -> None:
        self.relays = RELAYS
        self.relaying = 0  # bodies under way by relay
        self.without_relay = False  # the server has no such door
        self._stores: dict[str, _Store] = {}
        self._last = ""
        self._size = 0  # index into SLICES
        self._size_strikes = 0
        self._relayed = 0  # in a row, well

    def shut(self, store: str | None, now: float) -> bool:
        """Whether parts for a store go by relay now. `store` None: the one that the last grant was for."""
        found = self._stores.get(self._last if store is None else store)
        if found is None or not found.pause or self.without_relay:
            return False
        return found.trying or now < found.again_at

    @property
    def clear(self) -> bool:
        """Nothing stands in any way, so what becomes of one upload's parts changes nothing for another's."""
        return not self._stores and not self.relaying

    @property
    def slice(self) -> int | None:
        """Bytes of one body by relay; None: the whole part."""
        return SLICES[self._size]

    def again_at(self, store: str | None) -> float | None:
        """When a store that is shut is tried again."""
        found = self._stores.get(self._last if store is None else store)
        return None if found is None or not found.pause or found.trying else found.again_at

    def granted(self, store: str) -> None:
        self._last = store

    def began(self, store: str, *, relayed: bool) -> None:
        """A part set out."""
        if relayed:
            self.relaying += 1
        elif (found := self._stores.get(store)) is not None and found.pause:
            found.trying = True

    def dropped(self, store: str, *, relayed: bool) -> None:
        """It was broken off by us, and nothing was learned."""
        if relayed:
            self.relaying -= 1
        elif (found := self._stores.get(store)) is not None:
            found.trying = False

    def landed(self, store: str, *, relayed: bool) -> None:
        if not relayed:
            self._stores.pop(store, None)
            return
        self.relaying -= 1
        self._size_strikes = 0
        self._relayed += 1
        if self._relayed % 8 == 0:
            self.relays = min(self.relays + 1, 2 * RELAYS)

    def failed(self, flight: Flight, verdict: Verdict, now: float) -> bool:
        """What a failure says of its way. True: the same body goes again at once, in smaller slices."""
        if not flight.relayed:
            self._direct_failed(flight, verdict, now)
            return False
        self.relaying -= 1
        return self._relay_failed(flight, verdict, now)

    def _direct_failed(self, flight: Flight, verdict: Verdict, now: float) -> None:
        code = verdict.problem.code
        store = self._stores.setdefault(flight.store, _Store())
        if not (verdict.foreign or code in UNREACHED or (code in CUT and flight.sent <= UNHEARD)):
            if code in CUT:
                store.trying = False
            else:  # it answered
                self._stores.pop(flight.store)
            return
        if store.pause and not store.trying:
            return  # it was under way already when the store was shut
        store.strikes += 1
        if store.pause or store.strikes >= STRIKES:
            store.pause = min(2 * store.pause, TRY_AGAIN_MOST) if store.pause else TRY_AGAIN
            store.again_at, store.trying = now + store.pause, False

    def _relay_failed(self, flight: Flight, verdict: Verdict, now: float) -> bool:
        self._relayed = 0
        code = verdict.problem.code
        if verdict.no_door:
            self.without_relay = True
        if code in UNREACHED:
            for store in self._stores.values():
                store.again_at, store.trying = min(store.again_at, now), False
        if verdict.crowded:
            self.relays = max(1, self.relays // 2)
        if self._size + 1 == len(SLICES) or flight.length <= (SLICES[self._size + 1] or 0):
            return False
        cut = code in CUT_OF_RELAY and flight.sent > (SLICES[self._size + 1] or 0)
        self._size_strikes += STRIKES if verdict.too_large else int(cut)
        if self._size_strikes < STRIKES:
            return False
        self._size_strikes = 0
        self._size += 1
        return verdict.too_large


def store_of(grant: Grant) -> str:
    return urlsplit(grant.url).netloc


def leads_through_api(grant: Grant) -> bool:
    """Whether a grant is one for a relay: the server knows that clients cannot reach its storage."""
    path = urlsplit(grant.url).path
    return "/v1/uploads/" in path and path.endswith(f"/parts/{grant.number}")
