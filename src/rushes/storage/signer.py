"""Presigned URLs: SigV4 query authentication with an unsigned payload, pure and fast.

What comes to exist, in order, and how long it lives:

1. `Endpoint` and `Credentials`: values, made once from the settings.
2. `Signer`: one a (endpoint, credentials). It keeps the signing key of the newest date as two SHA-256 states, so that a
   signature costs no key derivation. `presign` signs any request, some 20 µs each.
3. `PartSigner`: one a (bucket, key, storage upload, second), or for parts that are objects of their own one a (bucket,
   prefix, second). Everything but part number, length and checksum is hashed beforehand, so a part costs three short
   hashes: about 2 µs.

Lengths and checksums are bound as *signed headers*. They are never hoisted into the query, where AWS ignores them
(aws/aws-sdk#480): only a signed header makes storage refuse another body.

Source: "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)", Amazon S3 API reference. URLs are
byte for byte those of botocore's `S3SigV4QueryAuth`; the tests hold us to that.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote

from rushes.checksum import HEADERS
from rushes.errors import Invalid, Unavailable
from rushes.model import ChecksumAlgorithm
from rushes.storage.endpoint import Credentials, Endpoint

if TYPE_CHECKING:
    from hashlib import _Hash


MAX_EXPIRES: Final = 7 * 24 * 3600  # seconds; SigV4 refuses more
MAX_PART_NUMBER: Final = 10_000
MAX_PART_LENGTH: Final = 5 * 1024**3  # bytes

# Lines of the base64 of exactly 8, 4, 32 and 16 bytes: clients' text becomes part of what we sign, so its shape is fixed to
# the bit.
_CHECKSUM_SHAPES: Final[Mapping[str, re.Pattern[str]]] = {
    "crc64nvme": re.compile(r"(?:[A-Za-z0-9+/]{10}[AEIMQUYcgkosw048]=\n)+"),
    "crc32c": re.compile(r"(?:[A-Za-z0-9+/]{5}[AQgw]==\n)+"),
    "sha256": re.compile(r"(?:[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=\n)+"),
    "md5": re.compile(r"(?:[A-Za-z0-9+/]{21}[AQgw]==\n)+"),
}
_HEADER_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_HEADER_VALUE: Final = re.compile(r"[\x20-\x7e]*")
_INNER: Final = bytes(byte ^ 0x36 for byte in range(256))  # RFC 2104's ipad and opad as translation tables
_OUTER: Final = bytes(byte ^ 0x5C for byte in range(256))


class _Moment(NamedTuple):
    """A second, how many seconds what is signed in it may live, and its name in SigV4."""

    start: datetime
    lifetime: int
    stamp: str

    @property
    def date(self) -> str:
        return self.stamp[:8]


class _Bound(NamedTuple):
    """The signed headers of a part: the checksum's name, all names, and the lines before and after the checksum."""

    header: str
    names: str
    before: str
    after: str

    @classmethod
    def of(cls, host: str, algorithm: str) -> _Bound:
        header = checksum_header(algorithm)
        first, second = sorted(("host", header))  # the checksum goes before Host when it is Content-MD5
        lines = (f"{header}:", f"\nhost:{host}\n") if first == header else (f"host:{host}\n{header}:", "\n")
        return cls(header, f"content-length;{first};{second}", *lines)


class PartSigner:
    """Signs the parts of one upload as of one second; made by `Signer.parts` or `Signer.staged`. Safe between threads."""

    __slots__ = ("_after", "_before", "_canonical", "_fits", "_inner", "_outer", "_tail", "expires_at", "header")

    def __init__(
        self,
        *,
        header: str,
        fits: re.Pattern[str],
        canonical: _Hash,
        tail: tuple[str, str, str],
        inner: _Hash,
        outer: _Hash,
        url: tuple[str, str],
        expires_at: datetime,
    ) -> None:
        self.header = header  # that carries the checksum
        self._fits = fits
        self._canonical = canonical
        self._tail = tail
        self._inner = inner
        self._outer = outer
        self._before, self._after = url
        self.expires_at = expires_at

    def sign(self, number: int, length: int, checksum: str) -> tuple[str, dict[str, str]]:
        """(URL, headers to send besides Content-Length) of one part of `length` bytes; `checksum` is base64.

        Raises:
            Invalid: a number, length or checksum that no S3 would take.
        """
        return self.urls(((number, length, checksum),))[0], {self.header: checksum}

    def urls(self, parts: Iterable[tuple[int, int, str]]) -> list[str]:
        """The URLs of many (number, length, checksum); in order, all or none. Each goes with its checksum in `header`.

        Raises:
            Invalid: a number, length or checksum that no S3 would take.
        """
        wanted = list(parts)
        self._check(wanted)
        before, after = self._before, self._after
        canonical, inner, outer = self._canonical.copy, self._inner.copy, self._outer.copy
        a, b, c = self._tail
        signed: list[str] = []
        known, middle = -1, ""  # all parts but the last have one length
        for number, length, checksum in wanted:
            if length != known:
                known, middle = length, f"{a}{length}{b}"
            request = canonical()
            request.update(f"{number}{middle}{checksum}{c}".encode())
            message = inner()
            message.update(request.hexdigest().encode())
            signature = outer()
            signature.update(message.digest())
            signed.append(f"{before}{number}{after}{signature.hexdigest()}")
        return signed

    def _check(self, wanted: Sequence[tuple[int, int, str]]) -> None:
        """Raise `Invalid` for the first that cannot be signed. One look at all is a fifth of the time of many looks."""
        if not wanted:
            return
        numbers, lengths, checksums = zip(*wanted, strict=True)
        lines = "\n".join((*checksums, ""))
        right = self._fits.fullmatch(lines) and lines.count("\n") == len(wanted)  # no checksum that is two
        if (
            right
            and 0 < min(numbers) <= max(numbers) <= MAX_PART_NUMBER
            and min(lengths) >= 0
            and (max(lengths) <= MAX_PART_LENGTH)
        ):
            return
        for number, length, checksum in wanted:
            fits = self._fits.fullmatch(f"{checksum}\n") and "\n" not in checksum
            if not (0 < number <= MAX_PART_NUMBER and 0 <= length <= MAX_PART_LENGTH and fits):
                raise _unsignable(self.header, number, length, checksum)


class Signer:
    """Presigns requests to one endpoint with one set of credentials. Safe to share between threads."""

    def __init__(self, endpoint: Endpoint, credentials: Credentials) -> None:
        self.endpoint = endpoint
        self.credentials = credentials
        self._key: tuple[str, _Hash, _Hash] | None = None

    def expires_at(self, at: datetime, seconds: float) -> datetime:
        """When a URL signed at `at` for `seconds` ends: at most 7 days later, never after the credentials.

        Raises:
            Invalid: `seconds` is below one.
            Unavailable: the credentials have expired, or will within a second.
        """
        moment = self._moment(at, seconds)
        return moment.start + timedelta(seconds=moment.lifetime)

    def presign(
        self,
        method: str,
        bucket: str,
        key: str,
        *,
        at: datetime,
        seconds: float,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """A URL for one request, valid from `at` (aware) for `seconds`. Whoever uses it must send `headers` exactly.

        Raises:
            Invalid: headers that cannot be sent, or a lifetime below one second.
            Unavailable: the credentials have expired.
        """
        host, url, path = self.endpoint.locate(bucket, key)
        moment = self._moment(at, seconds)
        bound = _canonical_headers(host, headers or {})
        auth = self._auth_query(moment, ";".join(bound))
        own = [(_encode(name), _encode(value)) for name, value in (query or {}).items()]
        canonical = "\n".join(
            [
                method.upper(),
                path,
                _joined(sorted(own + auth)),
                *(f"{name}:{value}" for name, value in bound.items()),
                "",
                ";".join(bound),
                "UNSIGNED-PAYLOAD",
            ]
        )
        inner, outer = self._signing_states(moment)
        inner.update(hashlib.sha256(canonical.encode()).hexdigest().encode())
        outer.update(inner.digest())
        return f"{url}?{_joined(own + auth)}&X-Amz-Signature={outer.hexdigest()}"

    def parts(
        self,
        bucket: str,
        key: str,
        storage_upload_id: str,
        *,
        algorithm: str,
        at: datetime,
        seconds: float,
    ) -> PartSigner:
        """A signer for the parts of one storage upload; its URLs bind Content-Length, Host and the checksum.

        Raises:
            Invalid: an algorithm other than crc64nvme, crc32c, sha256 and md5, or a lifetime below one second.
            Unavailable: the credentials have expired.
        """
        host, url, path = self.endpoint.locate(bucket, key)
        bound = _Bound.of(host, algorithm)
        moment = self._moment(at, seconds)
        auth = self._auth_query(moment, bound.names)
        upload = f"uploadId={_encode(storage_upload_id)}"
        return self._part_signer(
            bound,
            moment,
            algorithm,
            canonical=(f"PUT\n{path}\n{_joined(sorted(auth))}&partNumber=", f"&{upload}"),
            url=(f"{url}?partNumber=", f"&{upload}&{_joined(auth)}&X-Amz-Signature="),
        )

    def staged(self, bucket: str, prefix: str, *, algorithm: str, at: datetime, seconds: float) -> PartSigner:
        """A signer for parts that are objects of their own: part 7 is the object `prefix` + "7". Binds what `parts` binds.

        Raises:
            Invalid: an algorithm other than crc64nvme, crc32c, sha256 and md5, an empty prefix, a lifetime below a second.
            Unavailable: the credentials have expired.
        """
        if not prefix:
            raise Invalid("storage_prefix_missing", "Staged parts need a key prefix of their own.")
        host, url, path = self.endpoint.locate(bucket, prefix)
        bound = _Bound.of(host, algorithm)
        moment = self._moment(at, seconds)
        auth = self._auth_query(moment, bound.names)
        return self._part_signer(
            bound,
            moment,
            algorithm,
            canonical=(f"PUT\n{path}", f"\n{_joined(sorted(auth))}"),
            url=(url, f"?{_joined(auth)}&X-Amz-Signature="),
        )

    def _part_signer(
        self, bound: _Bound, moment: _Moment, algorithm: str, *, canonical: tuple[str, str], url: tuple[str, str]
    ) -> PartSigner:
        """`canonical` and `url` are what goes before and after the part's number in the signed request and in its URL."""
        before, after = canonical
        inner, outer = self._signing_states(moment)
        return PartSigner(
            header=bound.header,
            fits=_CHECKSUM_SHAPES[algorithm],
            canonical=hashlib.sha256(before.encode()),
            tail=(f"{after}\ncontent-length:", f"\n{bound.before}", f"{bound.after}\n{bound.names}\nUNSIGNED-PAYLOAD"),
            inner=inner,
            outer=outer,
            url=url,
            expires_at=moment.start + timedelta(seconds=moment.lifetime),
        )

    def _moment(self, at: datetime, seconds: float) -> _Moment:
        if seconds < 1:
            raise Invalid("storage_expiry_invalid", "A presigned URL has to live for at least one second.")
        start = at.astimezone(UTC).replace(microsecond=0)
        lifetime = min(int(seconds), MAX_EXPIRES)
        if self.credentials.expires_at is not None:
            left = int((self.credentials.expires_at - start).total_seconds())
            if left < 1:
                raise Unavailable("storage_credentials_expired", "The storage credentials have expired; renew them.")
            lifetime = min(lifetime, left)
        return _Moment(start, lifetime, f"{start:%Y%m%dT%H%M%SZ}")

    def _auth_query(self, moment: _Moment, bound: str) -> list[tuple[str, str]]:
        """The encoded authentication parameters, in botocore's order."""
        credential = f"{self.credentials.access_key}/{self._scope(moment)}"
        pairs = [
            ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"),
            ("X-Amz-Credential", _encode(credential)),
            ("X-Amz-Date", moment.stamp),
            ("X-Amz-Expires", str(moment.lifetime)),
            ("X-Amz-SignedHeaders", _encode(bound)),
        ]
        if self.credentials.session_token is not None:
            pairs.append(("X-Amz-Security-Token", _encode(self.credentials.session_token)))
        return pairs

    def _scope(self, moment: _Moment) -> str:
        return f"{moment.date}/{self.endpoint.region}/s3/aws4_request"

    def _signing_states(self, moment: _Moment) -> tuple[_Hash, _Hash]:
        """Fresh (inner, outer) HMAC states; the inner one has taken the string to sign up to the request's hash."""
        cached = self._key
        if cached is None or cached[0] != moment.date:
            key = _hmac(f"AWS4{self.credentials.secret_key}".encode(), moment.date)
            for step in (self.endpoint.region, "s3", "aws4_request"):
                key = _hmac(key, step)
            cached = self._key = (moment.date, *_hmac_states(key))
        inner, outer = cached[1].copy(), cached[2].copy()
        inner.update(f"AWS4-HMAC-SHA256\n{moment.stamp}\n{self._scope(moment)}\n".encode())
        return inner, outer


def checksum_header(algorithm: str) -> str:
    """The request header that carries a part's checksum of this algorithm. Raises `Invalid` for one we do not know."""
    try:
        return HEADERS[ChecksumAlgorithm(algorithm)]
    except (ValueError, KeyError):
        known = ", ".join(HEADERS)
        said = f"Parts can carry {known}; {algorithm[:40]!r} is none of them."
        raise Invalid("checksum_algorithm_unknown", said) from None


def _unsignable(header: str, number: int, length: int, checksum: str) -> Invalid:
    if not 0 < number <= MAX_PART_NUMBER:
        return Invalid("part_number_invalid", f"Part numbers go from 1 to {MAX_PART_NUMBER:,}.", number=number)
    if not 0 <= length <= MAX_PART_LENGTH:
        return Invalid("part_length_invalid", "A part has at most 5 GiB.", number=number, length=length)
    name = header.removeprefix("x-amz-checksum-").removeprefix("content-")
    message = f"The checksum is not the base64 of a {name} value."
    return Invalid("checksum_invalid", message, number=number, checksum=checksum[:64])


def _canonical_headers(host: str, headers: Mapping[str, str]) -> dict[str, str]:
    """Lower-case names in order, trimmed values, Host included."""
    bound = {"host": host}
    for name, value in headers.items():
        lowered = name.lower()
        if lowered in bound or not _HEADER_NAME.fullmatch(lowered) or not _HEADER_VALUE.fullmatch(value):
            raise Invalid("header_invalid", f"The header {name!r} cannot be bound to a presigned URL.")
        bound[lowered] = " ".join(value.split())
    return dict(sorted(bound.items()))


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")


def _joined(pairs: Iterable[tuple[str, str]]) -> str:
    return "&".join(f"{name}={value}" for name, value in pairs)


def _hmac(key: bytes, message: str) -> bytes:
    inner, outer = _hmac_states(key)
    inner.update(message.encode())
    outer.update(inner.digest())
    return outer.digest()


def _hmac_states(key: bytes) -> tuple[_Hash, _Hash]:
    """HMAC-SHA-256 as the two hash states it consists of (RFC 2104), because those can be copied mid-message."""
    block = (hashlib.sha256(key).digest() if len(key) > 64 else key).ljust(64, b"\0")
    return hashlib.sha256(block.translate(_INNER)), hashlib.sha256(block.translate(_OUTER))
