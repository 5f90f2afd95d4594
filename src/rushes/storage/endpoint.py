"""Where an S3 answers and with which key it is asked: values, made once from the settings."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal
from urllib.parse import quote, urlsplit

from rushes.errors import Misconfigured

Addressing = Literal["path", "virtual"]

_HOSTABLE: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HOSTABLE_WITH_DOTS: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]|\.(?=[a-z0-9])){1,61}[a-z0-9]")
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key. `expires_at` (aware) is set for temporary ones: no URL outlives it."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where an S3 answers: `scheme://netloc/path`, the region it signs for, and how it takes the bucket's name."""

    scheme: Literal["http", "https"]
    netloc: str
    path: str
    region: str
    addressing: Addressing

    @classmethod
    def parse(cls, url: str | None, *, region: str, addressing: Addressing) -> Endpoint:
        """Read an endpoint URL; None means AWS in that region. A path in it is a prefix of every request.

        Raises:
            Misconfigured: not an http(s) address, or one with a user, query or fragment.
        """
        if url is None:
            domain = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
            return cls("https", f"s3.{region}.{domain}", "", region, addressing)
        try:
            parts = urlsplit(url)
            valid = parts.hostname is not None and (parts.port is None or parts.port > 0)
        except ValueError:
            valid = False
        if not valid or parts.scheme not in _DEFAULT_PORTS or "@" in parts.netloc or parts.query or parts.fragment:
            raise Misconfigured(
                "storage_endpoint_invalid",
                f"The storage endpoint {url!r} is not an address like https://s3.example.com or http://127.0.0.1:8333.",
            )
        scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
        return cls(scheme, parts.netloc.lower(), quote(parts.path.rstrip("/"), safe="/~%"), region, addressing)

    @classmethod
    def accelerated(cls, internal: Endpoint, buckets: Iterable[str]) -> Endpoint:
        """AWS's edge locations, for buckets behind `internal` with acceleration switched on.

        Source: "Configuring fast, secure file transfers using Amazon S3 Transfer Acceleration", Amazon S3 user guide: the
        host names the bucket, one label without dots; China's and other partitions' regions have none.

        Raises:
            Misconfigured: `internal` is not AWS, or a bucket's name does not fit into that host.
        """
        if not internal.netloc.endswith(".amazonaws.com"):
            raise Misconfigured(
                "storage_accelerate_invalid",
                f"Only AWS has Transfer Acceleration, and {internal.netloc} is not AWS: unset RUSHES_STORAGE_ACCELERATE.",
            )
        for bucket in buckets:
            if not _HOSTABLE.fullmatch(bucket):
                raise Misconfigured(
                    "storage_accelerate_invalid",
                    f"Transfer Acceleration takes no bucket named {bucket!r}: only small letters, digits and hyphens, no "
                    "dots. Rename it or unset RUSHES_STORAGE_ACCELERATE.",
                )
        return cls("https", "s3-accelerate.amazonaws.com", "", internal.region, "virtual")

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.netloc}"

    @property
    def is_loopback(self) -> bool:
        """Whether this machine itself is meant: such requests must not go to a proxy that the environment names."""
        host = urlsplit(self.origin).hostname or ""
        address = _address(host)
        return address.is_loopback if address else host == "localhost" or host.endswith(".localhost")

    def locate(self, bucket: str, key: str) -> tuple[str, str, str]:
        """(Host header, URL without query, canonical path) of an object; an empty key means the bucket."""
        encoded = quote(key, safe="/~")
        if self.addressing == "virtual" and self._hostable(bucket):
            netloc, path = f"{bucket}.{self.netloc}", f"{self.path}/{encoded}"
        else:
            slash = "/" if key else ""
            netloc, path = self.netloc, f"{self.path}/{quote(bucket, safe='')}{slash}{encoded}"
        return netloc.removesuffix(_DEFAULT_PORTS[self.scheme]), f"{self.scheme}://{netloc}{path}", path

    def _hostable(self, bucket: str) -> bool:
        # A wildcard certificate covers one label, so a bucket with dots fits into the host only without TLS.
        shape = _HOSTABLE if self.scheme == "https" else _HOSTABLE_WITH_DOTS
        return shape.fullmatch(bucket) is not None and _address(urlsplit(self.origin).hostname or "") is None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
