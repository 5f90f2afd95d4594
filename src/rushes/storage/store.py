"""Storage as the rest of rushes holds it: the client, the signer for what clients see, and the three places."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import datetime
from typing import TYPE_CHECKING

from pydantic import SecretStr

from rushes.config import Settings
from rushes.errors import Misconfigured
from rushes.plan import Profile
from rushes.storage.endpoint import Credentials, Endpoint
from rushes.storage.keys import Place
from rushes.storage.profiles import profile_of
from rushes.storage.s3 import S3
from rushes.storage.signer import Signer

if TYPE_CHECKING:
    from rushes.storage.probe import Capabilities


class Storage:
    """Everything one process needs of its object storage; made by `open_storage`.

    `s3` talks to the internal endpoint. What `signer()` signs is for `public`, the endpoint that clients see; where there is
    none (`reachable` is false), that is the internal one, and parts of clients come through the API.
    """

    def __init__(
        self,
        s3: S3,
        public: Endpoint,
        profile: Profile,
        *,
        reachable: bool,
        incoming: Place,
        originals: Place,
        renditions: Place,
    ) -> None:
        self.s3 = s3
        self.public = public
        self.profile = profile
        self.reachable = reachable
        self.incoming = incoming
        self.originals = originals
        self.renditions = renditions
        self.remembered: tuple[Capabilities, datetime] | None = None  # what the store was seen to do, as of then
        self.foreign: Place | None = None  # a place that was seen to be another installation's
        self.asking = asyncio.Lock()  # held by whoever finds that out
        self._signer: Signer | None = None

    @property
    def buckets(self) -> list[str]:
        """The buckets behind the places, each once."""
        return list(dict.fromkeys(place.bucket for place in self.places))

    @property
    def places(self) -> list[Place]:
        """The places, each once."""
        return list(dict.fromkeys((self.incoming, self.originals, self.renditions)))

    def places_in(self, bucket: str) -> list[Place]:
        return [place for place in self.places if place.bucket == bucket]

    async def signer(self) -> Signer:
        """The signer for the public endpoint with the credentials of now. Ask for it anew for every batch of URLs.

        Raises:
            Misconfigured: there are no credentials.
        """
        credentials = await self.s3.credentials()
        if self._signer is None or self._signer.credentials != credentials:
            self._signer = Signer(self.public, credentials)
        return self._signer


@asynccontextmanager
async def open_storage(settings: Settings) -> AsyncIterator[Storage]:
    """Storage as configured. Opens no connection until it is used, so it also opens while storage is away.

    Raises:
        Misconfigured: an endpoint that is no address, half an access key, a place that is no bucket, or acceleration
            where there is none.
    """
    internal = _endpoint(settings, settings.storage_endpoint)
    places = {
        "incoming": Place.parse(settings.bucket_incoming),
        "originals": Place.parse(settings.bucket_originals),
        "renditions": Place.parse(settings.bucket_renditions),
    }
    public = _public(settings, internal, places.values())
    # AWS itself needs no public endpoint: everybody sees it under its own name.
    reachable = bool(settings.storage_public_endpoint) or not settings.storage_endpoint or settings.storage_accelerate
    async with S3(internal, _credentials(settings)) as s3:
        yield Storage(s3, public, profile_of(settings, internal.netloc), reachable=reachable, **places)


def _public(settings: Settings, internal: Endpoint, places: Iterable[Place]) -> Endpoint:
    """The endpoint that clients see."""
    if not settings.storage_accelerate:
        return _endpoint(settings, settings.storage_public_endpoint or settings.storage_endpoint)
    if settings.storage_public_endpoint:
        message = (
            "Set either RUSHES_STORAGE_ACCELERATE or RUSHES_STORAGE_PUBLIC_ENDPOINT: clients can be sent to one host."
        )
        raise Misconfigured("storage_accelerate_invalid", message)
    return Endpoint.accelerated(internal, [place.bucket for place in places])


def _endpoint(settings: Settings, url: str | None) -> Endpoint:
    return Endpoint.parse(url or None, region=settings.storage_region, addressing=settings.storage_addressing)


def _credentials(settings: Settings) -> Credentials | None:
    """The configured access key, or None to ask botocore's chain (environment, files, the machine's role)."""
    access_key, secret_key = settings.storage_access_key, _revealed(settings.storage_secret_key)
    if access_key and secret_key:
        return Credentials(access_key, secret_key, _revealed(settings.storage_session_token))
    if access_key or secret_key:
        message = "Set both storage_access_key and storage_secret_key, or neither."
        raise Misconfigured("storage_credentials_missing", message)
    return None


def _revealed(secret: SecretStr | None) -> str | None:
    return secret.get_secret_value() or None if secret is not None else None
