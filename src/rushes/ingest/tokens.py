"""Signed creator tokens (JWT, RFC 7519): minting our own, verifying ours and those of foreign issuers.

Claims: `iss`, `aud`, `exp`, `iat`, `sub` (the creator), `tenant`, `role`, `plan`, and optionally `title` or `upload`, which
narrow the token to that title or upload alone. An issuer's keys verify with one algorithm and no other, whatever a token's
header says, so that a public key can never be passed off as an HMAC secret.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt

from rushes.config import MIN_SECRET, Issuer, Settings
from rushes.errors import Forbidden, Misconfigured, Unauthenticated, Unavailable
from rushes.model import Principal, Role
from rushes.plan import QUOTA_PLANS

REQUIRED = ["exp", "iss", "aud", "sub", "tenant"]
LEEWAY = timedelta(seconds=30)
LATEST = 253_402_300_799  # seconds: the end of the year 9999
MAX_ID = 200  # characters of a tenant or creator id


def mint(secret: str, issuer: str, audience: str, who: Principal, lifetime: timedelta, now: datetime) -> str:
    """A token of our own (HS256) that makes its bearer `who` for `lifetime`."""
    check_secret(secret)
    claims: dict[str, Any] = {
        "iss": issuer,
        "aud": audience,
        "iat": now,
        "exp": now + lifetime,
        "sub": who.creator,
        "tenant": who.tenant,
        "role": str(who.role),
        "plan": who.plan,
    }
    if who.title:
        claims["title"] = str(who.title)
    if who.upload:
        claims["upload"] = str(who.upload)
    return jwt.encode(claims, secret, algorithm="HS256")


def mint_for(settings: Settings, who: Principal, lifetime: timedelta, now: datetime) -> str:
    return mint(own_secret(settings), settings.token_issuer, settings.token_audience, who, lifetime, now)


def check_reach(who: Principal) -> None:
    """Raise `Forbidden` for a token that is for one upload alone: it sends and reads, and changes nothing afterwards."""
    if who.upload is not None:
        raise Forbidden("token_scope", "This token is for one upload alone; use your own for that.")


def own_secret(settings: Settings) -> str:
    if settings.token_secret is None:
        raise Misconfigured("token_secret_missing", "Set RUSHES_TOKEN_SECRET to a random text of at least 32 bytes.")
    secret = settings.token_secret.get_secret_value()
    check_secret(secret)
    return secret


def own_key(settings: Settings) -> jwt.PyJWK:
    """The secret, made ready once: PyJWT otherwise looks it over for PEM marks with every token."""
    encoded = base64.urlsafe_b64encode(own_secret(settings).encode()).decode()
    return jwt.PyJWK({"kty": "oct", "k": encoded}, algorithm="HS256")


def check_secret(secret: str) -> None:
    if len(secret.encode()) < MIN_SECRET:
        raise Misconfigured("token_secret_short", f"The token secret must have at least {MIN_SECRET} bytes.")


@dataclass(frozen=True, slots=True)
class Proof:
    """Whom a token speaks for, who says so, and until when."""

    who: Principal
    issuer: str
    expires_at: datetime


class Verifier:
    """Tells who a token speaks for. Foreign public keys are fetched when first needed and cached for five minutes."""

    def __init__(self, settings: Settings) -> None:
        self._key = own_key(settings)
        self._issuer = settings.token_issuer
        self._audience = settings.token_audience
        self._foreign = {issuer.issuer: issuer for issuer in settings.token_issuers}
        if self._issuer in self._foreign:
            raise Misconfigured(
                "token_issuer_twice", f"The issuer {self._issuer!r} is rushes' own; name the other one differently."
            )
        self._keys = {name: jwt.PyJWKClient(issuer.jwks_url, timeout=5) for name, issuer in self._foreign.items()}

    async def verify(self, token: str) -> Principal:
        """The principal behind `token`. Raises `Unauthenticated`, or `Unavailable` when an issuer's keys cannot be had."""
        return (await self.read(token)).who

    async def read(self, token: str) -> Proof:
        """All that a token proves. Raises as `verify` does."""
        try:
            foreign = self._issuer_of(token) if self._foreign else None
            claims = await self._foreign_claims(token, foreign) if foreign else self._own_claims(token)
        except jwt.ExpiredSignatureError as error:
            raise Unauthenticated("token_expired", "The token has expired; get a new one.") from error
        except (jwt.InvalidTokenError, jwt.PyJWKClientError) as error:
            raise Unauthenticated("token_invalid", f"The token is not valid here: {_reason(error)}.") from error
        return Proof(principal_of(claims), claims["iss"], _moment(claims["exp"]))

    def _issuer_of(self, token: str) -> Issuer | None:
        """The foreign issuer that the token names; nothing of it is believed yet."""
        claimed = jwt.decode(token, options={"verify_signature": False}).get("iss")
        return self._foreign.get(claimed) if isinstance(claimed, str) else None

    def _own_claims(self, token: str) -> dict[str, Any]:
        return jwt.decode(
            token,
            self._key,
            algorithms=["HS256"],
            audience=self._audience,
            issuer=self._issuer,
            leeway=LEEWAY,
            options={"require": REQUIRED},
        )

    async def _foreign_claims(self, token: str, issuer: Issuer) -> dict[str, Any]:
        key = await asyncio.to_thread(_issuers_key, self._keys[issuer.issuer], token)
        if key.algorithm_name != issuer.algorithm:
            raise jwt.InvalidTokenError("its key is for another algorithm")
        claims: dict[str, Any] = jwt.decode(
            token,
            key.key,
            algorithms=[issuer.algorithm],
            audience=issuer.audience,
            issuer=issuer.issuer,
            leeway=LEEWAY,
            options={"require": REQUIRED},
        )
        if issuer.tenants and claims["tenant"] not in issuer.tenants:
            raise jwt.InvalidTokenError("its issuer may not speak for that tenant")
        return claims


def _issuers_key(client: jwt.PyJWKClient, token: str) -> jwt.PyJWK:
    """The key that a token names. Raises `Unavailable` for whatever is the issuer's fault, not the bearer's."""
    try:
        try:
            client.get_signing_keys()
        except jwt.PyJWKClientError as error:
            raise ValueError("no usable keys") from error
        return client.get_signing_key_from_jwt(token)
    except (ValueError, jwt.PyJWKSetError, jwt.PyJWKClientConnectionError) as error:
        raise Unavailable("issuer_unavailable", "The token's issuer does not answer; try again shortly.") from error


def principal_of(claims: Mapping[str, Any]) -> Principal:
    """The principal that verified claims describe. Raises `Unauthenticated` for claims we cannot honour."""
    try:
        return Principal(
            tenant=_identifier(claims["tenant"]),
            creator=_identifier(claims["sub"]),
            role=Role(claims.get("role", Role.CREATOR)),
            plan=_plan(claims.get("plan", "user")),
            title=UUID(claims["title"]) if "title" in claims else None,
            upload=UUID(claims["upload"]) if "upload" in claims else None,
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise Unauthenticated("token_claims", f"The token's claims cannot be used: {error}.") from error


def _plan(value: object) -> str:
    if not isinstance(value, str) or value not in QUOTA_PLANS:
        raise ValueError(f"plan must be one of {', '.join(QUOTA_PLANS)}")
    return value


def _identifier(value: object) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_ID or not value.isprintable():
        raise ValueError(f"tenant and sub must be printable texts of 1 to {MAX_ID} characters")
    return value


def _moment(seconds: float) -> datetime:
    """A time of a token as a time of ours; what lies beyond the calendar is its end."""
    return datetime.fromtimestamp(min(int(seconds), LATEST), UTC)


def _reason(error: Exception) -> str:
    if type(error) is jwt.DecodeError:
        return "it is none, or not the whole of one (three parts with dots between them)"
    return str(error).rstrip(".") or type(error).__name__
