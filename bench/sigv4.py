"""Whether a request to S3 is signed as AWS Signature Version 4 wants it: by header or by query, from the specification alone.

Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API reference. Nothing here is shared with the signer
that rushes ships. Like AWS, it refuses `x-amz-` headers that were sent and not signed.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import quote, unquote

SKEW = 900  # seconds
LONGEST = 604_800  # seconds a URL may live
UNSIGNED = "UNSIGNED-PAYLOAD"


class Refused(Exception):
    """An S3 error: HTTP status, code, message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


@dataclass(frozen=True, slots=True)
class Request:
    """As it came: the path and the query not yet decoded, header names in lower case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...]  # decoded
    headers: dict[str, str]

    def argument(self, name: str) -> str | None:
        return next((value for key, value in self.query if key == name), None)


def parse_query(text: str) -> tuple[tuple[str, str], ...]:
    pairs = (piece.partition("=") for piece in text.split("&") if piece)
    return tuple((unquote(name), unquote(value)) for name, _, value in pairs)


class Verifier:
    """Knows one access key. Signing keys are kept by day and region."""

    def __init__(self, access_key: str, secret_key: str) -> None:
        self._access_key = access_key
        self._secret_key = secret_key
        self._keys: dict[str, bytes] = {}

    def check(self, request: Request, now: datetime) -> tuple[frozenset[str], str]:
        """(the signed headers' names, the payload's hash as signed). Raises `Refused`."""
        authorization = request.headers.get("authorization")
        if authorization is not None:
            return self._by_header(request, authorization, now)
        if request.argument("X-Amz-Signature") is None:
            raise Refused(403, "AccessDenied", "The request is not signed.")
        return self._by_query(request, now)

    def _by_header(self, request: Request, authorization: str, now: datetime) -> tuple[frozenset[str], str]:
        algorithm, _, rest = authorization.partition(" ")
        fields = dict(_pair(piece) for piece in rest.split(","))
        if algorithm != "AWS4-HMAC-SHA256" or fields.keys() != {"Credential", "SignedHeaders", "Signature"}:
            raise Refused(400, "AuthorizationHeaderMalformed", "The Authorization header is malformed.")
        stamp = request.headers.get("x-amz-date", "")
        if abs((now - _moment(stamp)).total_seconds()) > SKEW:
            raise Refused(403, "RequestTimeTooSkewed", "The request's time is too far from ours.")
        payload = request.headers.get("x-amz-content-sha256", "")
        names = fields["SignedHeaders"].split(";")
        self._compare(request, names, fields["Credential"], stamp, payload, fields["Signature"])
        return frozenset(names), payload

    def _by_query(self, request: Request, now: datetime) -> tuple[frozenset[str], str]:
        asked = {name: value for name, value in request.query if name.startswith("X-Amz-")}
        if asked.get("X-Amz-Algorithm") != "AWS4-HMAC-SHA256":
            raise Refused(400, "AuthorizationQueryParametersError", "Only AWS4-HMAC-SHA256 is spoken.")
        stamp, expires = asked.get("X-Amz-Date", ""), asked.get("X-Amz-Expires", "")
        if not expires.isdigit() or not 0 < int(expires) <= LONGEST:
            raise Refused(400, "AuthorizationQueryParametersError", "X-Amz-Expires is not between 1 and 604800.")
        age = (now - _moment(stamp)).total_seconds()
        if age < -SKEW or age > int(expires):
            raise Refused(403, "AccessDenied", "Request has expired")
        names = asked.get("X-Amz-SignedHeaders", "").split(";")
        credential, signature = asked.get("X-Amz-Credential", ""), asked["X-Amz-Signature"]
        self._compare(request, names, credential, stamp, UNSIGNED, signature)
        return frozenset(names), UNSIGNED

    def _compare(
        self, request: Request, names: list[str], credential: str, stamp: str, payload: str, signature: str
    ) -> None:
        access_key, _, scope = credential.partition("/")
        if access_key != self._access_key:
            raise Refused(403, "InvalidAccessKeyId", "The access key is not known.")
        if not scope.startswith(f"{stamp[:8]}/") or not scope.endswith("/s3/aws4_request"):
            raise Refused(403, "SignatureDoesNotMatch", "The credential's scope is not the request's.")
        unsigned = [name for name in request.headers if name.startswith("x-amz-") and name not in names]
        if "host" not in names or names != sorted(names) or unsigned:
            raise Refused(403, "AccessDenied", f"There were headers present which were not signed: {unsigned}")
        canonical = _canonical(request, names, payload)
        text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        expected = hmac.digest(self._key(scope), text.encode(), "sha256").hex()
        if not hmac.compare_digest(expected, signature):
            raise Refused(403, "SignatureDoesNotMatch", "The signature is not the one of this request.")

    def _key(self, scope: str) -> bytes:
        key = self._keys.get(scope)
        if key is None:
            key = b"AWS4" + self._secret_key.encode()
            for step in scope.split("/"):
                key = hmac.digest(key, step.encode(), "sha256")
            self._keys[scope] = key
        return key


def _canonical(request: Request, names: list[str], payload: str) -> str:
    query = sorted((_encode(name), _encode(value)) for name, value in request.query if name != "X-Amz-Signature")
    return "\n".join(
        [
            request.method,
            quote(unquote(request.path), safe="/-_.~"),
            "&".join(f"{name}={value}" for name, value in query),
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in names),
            "",
            ";".join(names),
            payload,
        ]
    )


def _encode(text: str) -> str:
    return quote(text, safe="-_.~")


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.strip().partition("=")
    return name, value


def _moment(stamp: str) -> datetime:
    try:
        return datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise Refused(403, "AccessDenied", "The request carries no date.") from None
