"""Tokens: who they make of their bearer, and all the ways in which they must not.

Foreign keys are served by a real HTTP server, as an issuer would.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from pydantic import SecretStr, ValidationError

from rushes.config import Issuer, Settings
from rushes.errors import Misconfigured, Problem, Unauthenticated, Unavailable
from rushes.ingest.tokens import Verifier, check_secret, mint, mint_for
from rushes.model import Principal, Role
from tests.ingest.equipment import Desk, open_desk, problem

SECRET = "another secret for tests alone, also long enough"
OWN = Settings(token_secret=SecretStr(SECRET))
ANN = Principal("acme", "ann")


def claims(**changes: Any) -> dict[str, Any]:
    """Claims that are good; None takes one away."""
    now = datetime.now(UTC)
    good = {
        "iss": "rushes",
        "aud": "rushes",
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(hours=1)).timestamp()),
        "sub": "ann",
        "tenant": "acme",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def own(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret, algorithm=algorithm)


def by_hand(header: dict[str, Any], payload: bytes, secret: str = SECRET) -> str:
    """A token signed with HS256 whatever it says of itself."""
    signed = b".".join(_base64(part) for part in (json.dumps(header).encode(), payload))
    return (signed + b"." + _base64(hmac.digest(secret.encode(), signed, hashlib.sha256))).decode()


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


async def refused(verifier: Verifier, token: str) -> Problem:
    with pytest.raises(Problem) as raised:
        await verifier.verify(token)
    return raised.value


# --- our own ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "who",
    [
        ANN,
        Principal("acme", "ann", Role.OPERATOR, "pro"),
        Principal("acme", "ann", Role.SERVICE, "enterprise", title=uuid4()),
        Principal("Ö & Söhne / x", "日本 ../..", Role.CREATOR, "studio", upload=uuid4()),
        Principal("t" * 200, "c" * 200, title=uuid4(), upload=uuid4()),
    ],
)
async def test_a_token_makes_its_bearer_who_it_says(who: Principal) -> None:
    token = mint_for(OWN, who, timedelta(hours=1), datetime.now(UTC))
    assert await Verifier(OWN).verify(token) == who


async def test_claims_left_out_give_the_least() -> None:
    assert await Verifier(OWN).verify(own()) == Principal("acme", "ann", Role.CREATOR, "user")


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", "token_invalid"),
        ("x", "token_invalid"),
        ("a.b.c", "token_invalid"),
        ("é.é.é", "token_invalid"),
        ("." * 1_000, "token_invalid"),
        (own() + "x", "token_invalid"),
        (own().rpartition(".")[0] + ".", "token_invalid"),
        (own(secret=SECRET[:-1] + "?"), "token_invalid"),
        (own(algorithm="HS384"), "token_invalid"),
        (".".join((by_hand({"alg": "none"}, json.dumps(claims()).encode()).rpartition(".")[0], "")), "token_invalid"),
        (own(iss="other"), "token_invalid"),
        (own(iss=None), "token_invalid"),
        (by_hand({"alg": "HS256"}, json.dumps(claims(iss=["rushes"])).encode()), "token_invalid"),
        (own(aud="other"), "token_invalid"),
        (own(aud=None), "token_invalid"),
        (own(aud=[]), "token_invalid"),
        (own(exp=1), "token_expired"),
        (own(exp=int(datetime.now(UTC).timestamp()) - 31), "token_expired"),
        (own(exp=None), "token_invalid"),
        (own(exp="soon"), "token_invalid"),
        (own(exp=True, nbf=5_000_000_000), "token_invalid"),
        (own(nbf=5_000_000_000), "token_invalid"),
        (own(iat=5_000_000_000), "token_invalid"),
        (own(sub=None), "token_invalid"),
        (own(tenant=None), "token_invalid"),
        (own(sub=5), "token_invalid"),
        (own(sub=""), "token_claims"),
        (own(sub="a\nb"), "token_claims"),
        (own(sub="a\x00b"), "token_claims"),
        (own(sub="\u202eevil"), "token_claims"),
        (own(sub="x" * 201), "token_claims"),
        (own(tenant=""), "token_claims"),
        (own(tenant=["acme"]), "token_claims"),
        (own(tenant={"acme": 1}), "token_claims"),
        (own(tenant=False), "token_claims"),
        (own(role="admin"), "token_claims"),
        (own(role=["operator"]), "token_claims"),
        (own(role={}), "token_claims"),
        (own(role=0), "token_claims"),
        (own(plan="gold"), "token_claims"),
        (own(plan=["studio"]), "token_claims"),
        (own(plan={"studio": 1}), "token_claims"),
        (own(plan=1), "token_claims"),
        (own(title="t"), "token_claims"),
        (own(title=5), "token_claims"),
        (own(title=[]), "token_claims"),
        (own(title=""), "token_claims"),
        (own(upload=""), "token_claims"),
        (own(upload={"a": 1}), "token_claims"),
        (by_hand({"alg": "none"}, json.dumps(claims()).encode()), "token_invalid"),
        (by_hand({"alg": "RS256"}, json.dumps(claims()).encode()), "token_invalid"),
        (by_hand({"alg": ["HS256"]}, json.dumps(claims()).encode()), "token_invalid"),
        (by_hand({}, json.dumps(claims()).encode()), "token_invalid"),
        (by_hand({"alg": "HS256", "kid": 5}, json.dumps(claims()).encode()), "token_invalid"),
        (by_hand({"alg": "HS256", "crit": ["x"], "x": 1}, json.dumps(claims()).encode()), "token_invalid"),
        (by_hand({"alg": "HS256"}, b"[]"), "token_invalid"),
        (by_hand({"alg": "HS256"}, b"\xff"), "token_invalid"),
        (by_hand({"alg": "HS256"}, b"[" * 20_000), "token_invalid"),
        (by_hand({"alg": "HS256"}, json.dumps(claims(exp=float("inf"))).encode()), "token_invalid"),
        (by_hand({"alg": "HS256"}, json.dumps(claims(exp=float("nan"))).encode()), "token_invalid"),
        (by_hand({"alg": "HS256"}, json.dumps(claims(nbf=float("inf"))).encode()), "token_invalid"),
        (by_hand({"alg": "HS256"}, json.dumps(claims()).replace("ann", "\\ud800").encode()), "token_claims"),
    ],
    ids=lambda value: value if value.startswith("token_") else "",  # tokens differ with every collection
)
async def test_a_token_that_proves_nothing(token: str, code: str) -> None:
    problem = await refused(Verifier(OWN), token)
    assert isinstance(problem, Unauthenticated)
    assert problem.code == code
    assert SECRET not in problem.message


@pytest.mark.parametrize("claim", ["title", "upload"])
async def test_an_empty_scope_does_not_widen_a_token(claim: str) -> None:
    """`null` where an id should be: whoever wrote that meant to narrow, so it must not count as absent."""
    token = by_hand({"alg": "HS256"}, json.dumps(claims() | {claim: None}).encode())
    assert (await refused(Verifier(OWN), token)).code == "token_claims"


async def test_clocks_may_differ_by_half_a_minute() -> None:
    now = int(datetime.now(UTC).timestamp())
    await Verifier(OWN).verify(own(exp=now - 20))
    await Verifier(OWN).verify(own(iat=now + 20, nbf=now + 20))


def test_a_weak_secret_is_the_operators_mistake() -> None:
    for secret in ("", "short", "x" * 31):
        with pytest.raises(Misconfigured):
            check_secret(secret)
        with pytest.raises(Misconfigured):
            mint(secret, "rushes", "rushes", ANN, timedelta(hours=1), datetime.now(UTC))
        with pytest.raises(ValidationError, match="at least 32 bytes"):
            Settings(token_secret=SecretStr(secret))
        with pytest.raises(Misconfigured):
            Verifier(Settings().model_copy(update={"token_secret": SecretStr(secret)}))
    check_secret("é" * 16)
    with pytest.raises(Misconfigured):
        Verifier(Settings())


# --- foreign issuers --------------------------------------------------------------------------------------------------

RSA, EC, ED = (
    rsa.generate_private_key(65537, 2048),
    ec.generate_private_key(ec.SECP256R1()),
    ed25519.Ed25519PrivateKey.generate(),
)
OTHER_RSA = rsa.generate_private_key(65537, 2048)
KEYS: dict[str, Any] = {"RS256": RSA, "ES256": EC, "EdDSA": ED}


def jwk(key: Any, kid: str) -> dict[str, Any]:
    algorithm: Any = {
        rsa.RSAPublicKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePublicKey: jwt.algorithms.ECAlgorithm,
    }
    public = key.public_key()
    family = next((made for kind, made in algorithm.items() if isinstance(public, kind)), jwt.algorithms.OKPAlgorithm)
    return dict(json.loads(family.to_jwk(public))) | {"kid": kid, "use": "sig"}


class Keys(ThreadingHTTPServer):
    """An issuer's key server: says what `answer` holds, and counts who asks."""

    answer = b""
    status = 200
    asked = 0


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, Keys)
        server.asked += 1
        self.send_response(server.status)
        self.send_header("Content-Length", str(len(server.answer)))
        self.end_headers()
        self.wfile.write(server.answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it is called by
        del format, args


@contextmanager
def serving(*keys: dict[str, Any]) -> Iterator[Keys]:
    with Keys(("127.0.0.1", 0), _Handler) as server:
        server.answer = json.dumps({"keys": keys}).encode()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def server() -> Iterator[Keys]:
    with serving(jwk(RSA, "RS256"), jwk(EC, "ES256"), jwk(ED, "EdDSA")) as found:
        yield found


def trusting(server: Keys, algorithm: Any, tenants: tuple[str, ...] = ()) -> Verifier:
    url = f"http://127.0.0.1:{server.server_port}/jwks"
    issuer = Issuer(issuer="https://id", jwks_url=url, algorithm=algorithm, audience="films", tenants=tenants)
    return Verifier(OWN.model_copy(update={"token_issuers": (issuer,)}))


def foreign(algorithm: str = "RS256", key: Any = None, kid: str | None = "", **changes: Any) -> str:
    header = {"kid": algorithm} if kid == "" else {} if kid is None else {"kid": kid}
    made = claims(**({"iss": "https://id", "aud": "films"} | changes))
    return jwt.encode(made, key or KEYS[algorithm], algorithm=algorithm, headers=header)


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_foreign_token_is_verified_by_its_issuers_key(server: Keys, algorithm: str) -> None:
    verifier = trusting(server, algorithm)
    who = await verifier.verify(foreign(algorithm, role="operator", plan="pro"))
    assert who == Principal("acme", "ann", Role.OPERATOR, "pro")
    for _ in range(5):
        await verifier.verify(foreign(algorithm))
    assert server.asked == 1
    assert await verifier.verify(own()) == ANN  # our own are good beside them


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_key_verifies_with_its_own_algorithm_alone(server: Keys, algorithm: str) -> None:
    verifier = trusting(server, algorithm)
    pem = KEYS[algorithm].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    payload = json.dumps(claims(iss="https://id", aud="films")).encode()
    others = [other for other in KEYS if other != algorithm]
    tokens = [
        by_hand({"alg": "HS256", "kid": algorithm}, payload, pem),  # the public key passed off as a secret
        by_hand({"alg": "HS256", "kid": algorithm}, payload),  # our own secret under their name
        by_hand({"alg": "none", "kid": algorithm}, payload),
        *(foreign(other) for other in others),  # good signatures of keys that are there, by other algorithms
        *(foreign(other, kid=algorithm) for other in others),
        *(by_hand({"alg": algorithm, "kid": other}, payload) for other in others),  # the key is of another kind
        foreign("RS256", key=OTHER_RSA, kid=algorithm),
        foreign(algorithm, kid=None),
        foreign(algorithm, kid="unknown"),
        foreign(algorithm, iss="rushes"),
        foreign(algorithm, iss="https://other"),
        foreign(algorithm, aud="rushes"),
        foreign(algorithm, sub=None),
        foreign(algorithm, tenant=None),
        foreign(algorithm, exp=None),
    ]
    codes = [(await refused(verifier, token)).code for token in tokens]
    assert codes == ["token_invalid"] * len(tokens)
    assert (await refused(verifier, foreign(algorithm, exp=1))).code == "token_expired"
    assert (await refused(verifier, own(aud="films"))).code == "token_invalid"


async def test_an_issuer_speaks_for_its_tenants_alone(server: Keys) -> None:
    verifier = trusting(server, "RS256", ("acme", "umbra"))
    assert (await verifier.verify(foreign(tenant="umbra"))).tenant == "umbra"
    others: list[Any] = ["other", "acm", "ACME", ["acme"], None, {}]
    for tenant in others:
        assert isinstance(await refused(verifier, foreign(tenant=tenant)), Unauthenticated)


async def test_unknown_keys_do_not_flood_the_issuer(server: Keys) -> None:
    verifier = trusting(server, "RS256")
    for number in range(10):
        await refused(verifier, foreign(kid=f"k{number}"))
    assert server.asked <= 2


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (500, b"{}"),
        (404, b""),
        (302, b""),
        (200, b""),
        (200, b"<html>"),
        (200, b"[]"),
        (200, b'{"keys": []}'),
        (200, b"\xff"),
    ],
)
async def test_an_issuer_that_fails_is_not_the_bearers_fault(server: Keys, status: int, answer: bytes) -> None:
    server.status, server.answer = status, answer
    problem = await refused(trusting(server, "RS256"), foreign())
    assert (type(problem), problem.code) == (Unavailable, "issuer_unavailable")


async def test_an_issuer_that_is_away_is_not_the_bearers_fault() -> None:
    with serving() as server:
        verifier = trusting(server, "RS256")
    problem = await refused(verifier, foreign())
    assert (type(problem), problem.code) == (Unavailable, "issuer_unavailable")
    assert await verifier.verify(own()) == ANN


async def test_a_foreign_issuer_cannot_take_our_name(server: Keys) -> None:
    issuer = Issuer(issuer="rushes", jwks_url="http://127.0.0.1:1/", algorithm="RS256", audience="films")
    with pytest.raises(Misconfigured):
        Verifier(OWN.model_copy(update={"token_issuers": (issuer,)}))


# --- at the door ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def door(settings: Settings) -> AsyncIterator[tuple[Desk, Keys]]:
    with serving(jwk(RSA, "RS256")) as server:
        url = f"http://127.0.0.1:{server.server_port}/jwks"
        good = Issuer(issuer="https://id", jwks_url=url, algorithm="RS256", audience="films")
        away = Issuer(issuer="https://away", jwks_url="http://127.0.0.1:1/", algorithm="RS256", audience="films")
        async with open_desk(settings.model_copy(update={"token_issuers": (good, away)})) as desk:
            yield desk, server


async def test_the_door_opens_to_a_foreign_token(door: tuple[Desk, Keys]) -> None:
    desk, _ = door
    answer = await desk.with_token(foreign(tenant=f"tenant-{uuid4()}")).get("/v1/uploads")
    assert (answer.status_code, answer.json()["items"]) == (200, [])


async def test_the_door_says_why_it_stays_closed(door: tuple[Desk, Keys]) -> None:
    desk, _ = door
    answer = await desk.with_token("nonsense").get("/v1/uploads")
    problem(answer, 401, "token_invalid")
    assert answer.headers["WWW-Authenticate"] == "Bearer"
    problem(await desk.with_token(foreign(exp=1)).get("/v1/uploads"), 401, "token_expired")
    away = await desk.with_token(foreign(iss="https://away")).get("/v1/uploads")
    problem(away, 503, "issuer_unavailable")
    assert away.headers["Retry-After"]


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Token x", "bearer", "Bearer\ta"])
async def test_other_ways_to_sign_in_are_none(door: tuple[Desk, Keys], header: str) -> None:
    desk, _ = door
    answer = await desk.with_token(None).get("/v1/uploads", headers={"Authorization": header})
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


async def test_a_token_in_the_query_is_none(door: tuple[Desk, Keys]) -> None:
    desk, _ = door
    problem(await desk.with_token(None).get("/v1/uploads", params={"access_token": foreign()}), 401, "token_missing")
