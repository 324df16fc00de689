"""Every check on a token is a row here; beside each group stands a control that is accepted."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from flask.testing import FlaskClient

from shared.keys import public_jwk
from shared.verification import LEEWAY, MAXIMUM_LENGTH, MAXIMUM_LIFETIME
from tests.conftest import KeyPair, add_client, bearer, get_token, open_auth, open_course, read_claims
from tests.forger import (
    ABSENT,
    COURSES,
    ISSUER,
    SHA384_DIGEST,
    SHA512_DIGEST,
    Forger,
    encode,
    es256,
    hs256,
    ps256,
    rs,
)

Make = Callable[[Forger, Forger], str]

# No token came: nothing is told but where to get one (RFC 6750 section 3.1, RFC 9728 section 5.1).
BARE_CHALLENGE = f'Bearer resource_metadata="{COURSES}/.well-known/oauth-protected-resource"'


@pytest.fixture(scope="module")
def services(
    tmp_path_factory: pytest.TempPathFactory, key_pair: KeyPair
) -> Iterator[tuple[FlaskClient, FlaskClient]]:
    folder = tmp_path_factory.mktemp("services")
    with (
        open_auth(f"sqlite:///{folder}/auth.db", key_pair) as auth,
        open_course(f"sqlite:///{folder}/course.db", key_pair) as course,
    ):
        yield auth, course


@pytest.fixture(scope="module")
def genuine(services: tuple[FlaskClient, FlaskClient], key_pair: KeyPair) -> Forger:
    """Signs with the issuer's own key, for a user who is logged in."""
    claims = read_claims(get_token(services[0]))
    return Forger(key_pair.private_key, key_pair.kid, claims["sub"], claims["sid"])


@pytest.fixture(scope="module")
def attacker(genuine: Forger, other_key_pair: KeyPair) -> Forger:
    """Signs with a key of its own, under the name of the issuer's."""
    return Forger(other_key_pair.private_key, genuine.kid, genuine.subject, genuine.session)


def now(seconds: float = 0) -> float:
    return int(time.time()) + seconds


def pem(forger: Forger) -> bytes:
    return forger.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def der(forger: Forger) -> bytes:
    return forger.key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def unsigned(_data: bytes) -> bytes:
    return b""


def header(**members: Any) -> Make:
    return lambda genuine, _attacker: genuine.sign(members)


def claims(**changes: Any) -> Make:
    return lambda genuine, _attacker: genuine.sign(**changes)


def times(**offsets: float) -> Make:
    """Claims as seconds from now."""
    return lambda genuine, _attacker: genuine.sign(**{name: now(value) for name, value in offsets.items()})


def payload(text: bytes) -> Make:
    return lambda genuine, _attacker: genuine.sign_payload(text)


def edit(change: Callable[[str], str]) -> Make:
    return lambda genuine, _attacker: change(genuine.sign())


def flip(text: str, index: int) -> str:
    flipped = "A" if text[index] != "A" else "B"
    parts = list(text)
    parts[index] = flipped
    return "".join(parts)


ACCEPTED: dict[str, Make] = {
    "as issued": claims(),
    "typ in capitals": header(typ="AT+JWT"),
    "typ in its long form": header(typ="application/at+jwt"),
    "typ in its long form and capitals": header(typ="Application/AT+JWT"),
    "jwk, not looked at": lambda genuine, attacker: genuine.sign(
        {"jwk": public_jwk(attacker.key.public_key())}
    ),
    "jku, not looked at": header(jku="http://127.0.0.1:1/jwks.json"),
    "x5u and x5c, not looked at": header(x5u="http://127.0.0.1:1/x", x5c=["AAAA"]),
    "aud is one text": lambda genuine, _: genuine.sign(aud=COURSES),
    "exp with a fraction": times(exp=900.5),
    "exp within the leeway": times(iat=-60, exp=-(LEEWAY // 2)),
    "iat within the leeway": times(iat=LEEWAY // 2, exp=60),
    "nbf has come": times(nbf=-1),
    "nbf within the leeway": times(nbf=LEEWAY // 2),
    "the longest lifetime": times(iat=0, exp=MAXIMUM_LIFETIME),
    "a claim that nobody knows": claims(colour="blue"),
    "as long as may be": lambda genuine, _: pad(genuine, MAXIMUM_LENGTH - 1),
}

REFUSED: dict[str, Make] = {
    # compact JWS of three parts under a length cap
    "empty": lambda *_: "",
    "no dot": lambda *_: "malformed",
    "two parts": edit(lambda token: token.rpartition(".")[0]),
    "four parts": edit(lambda token: token + ".AAAA"),
    "five parts, as a JWE has": edit(lambda token: token + ".AAAA.AAAA"),
    "empty header": edit(lambda token: "." + token.partition(".")[2]),
    "empty payload": edit(lambda token: "..".join(token.split(".")[::2])),
    "padded": edit(lambda token: token + "="),
    "space inside": edit(lambda token: token.replace(".", ". ")),
    "followed by a second token": edit(lambda token: f"{token} {token}"),
    "followed by another header's token": edit(lambda token: f"{token}, Bearer {token}"),
    "not ASCII": edit(lambda token: token + "\u00e9"),
    "not base64url": edit(lambda token: token.replace(".", ".+/", 1)),
    "too long": lambda genuine, _: pad(genuine, MAXIMUM_LENGTH + 1),
    "header is no JSON": edit(lambda token: encode(b"{") + token[token.index(".") :]),
    "header is no object": edit(lambda token: encode(b"[]") + token[token.index(".") :]),
    "payload is no JSON": payload(b"{"),
    "payload is no object": payload(b"[]"),
    "payload is null": payload(b"null"),
    "payload is no UTF-8": payload(b'{"sub": "\xff"}'),
    "payload is nested too deeply": payload(b"[" * 2500),
    # alg
    "alg missing": header(alg=ABSENT),
    "alg null": header(alg=None),
    "alg a list": header(alg=["RS256"]),
    "alg in small letters": header(alg="rs256"),
    "alg none, unsigned": lambda genuine, _: genuine.sign({"alg": "none"}, unsigned),
    "alg None, unsigned": lambda genuine, _: genuine.sign({"alg": "None"}, unsigned),
    "alg none, signed": header(alg="none"),
    "alg HS256 with the public PEM": lambda genuine, _: genuine.sign({"alg": "HS256"}, hs256(pem(genuine))),
    "alg HS256 with the stripped PEM": lambda genuine, _: genuine.sign(
        {"alg": "HS256"}, hs256(pem(genuine).strip())
    ),
    "alg HS256 with the public DER": lambda genuine, _: genuine.sign({"alg": "HS256"}, hs256(der(genuine))),
    "alg HS256 with nothing": lambda genuine, _: genuine.sign({"alg": "HS256"}, hs256(b"")),
    "alg RS256, signed with HS256": lambda genuine, _: genuine.sign(None, hs256(pem(genuine))),
    "alg RS384": lambda genuine, _: genuine.sign({"alg": "RS384"}, rs(genuine.key, SHA384_DIGEST)),
    "alg RS512": lambda genuine, _: genuine.sign({"alg": "RS512"}, rs(genuine.key, SHA512_DIGEST)),
    "alg PS256": lambda genuine, _: genuine.sign({"alg": "PS256"}, ps256(genuine.key)),
    "alg ES256": lambda genuine, _: genuine.sign(
        {"alg": "ES256"}, es256(ec.generate_private_key(ec.SECP256R1()))
    ),
    # typ
    "typ missing": header(typ=ABSENT),
    "typ null": header(typ=None),
    "typ a number": header(typ=1),
    "typ a list": header(typ=["at+jwt"]),
    "typ JWT": header(typ="JWT"),
    "typ of a status list": header(typ="statuslist+jwt"),
    "typ of a logout token": header(typ="logout+jwt"),
    "typ with a parameter": header(typ="at+jwt; v=1"),
    # kid
    "kid missing": header(kid=ABSENT),
    "kid null": header(kid=None),
    "kid empty": header(kid=""),
    "kid a number": header(kid=1),
    "kid a list": header(kid=["x"]),
    "kid unknown": header(kid="unknown"),
    "kid a path": header(kid="../../dev/null"),
    # crit
    "crit with what nobody knows": header(crit=["exp"]),
    "crit with b64": header(crit=["b64"], b64=True),
    "crit empty": header(crit=[]),
    "crit null": header(crit=None),
    # signature
    "signature empty": lambda genuine, _: genuine.sign(None, unsigned),
    "signature cut": edit(lambda token: token[:-8]),
    "signature changed": edit(lambda token: flip(token, -20)),
    "signature of another token": lambda genuine, _: (
        genuine.sign().rpartition(".")[0] + "." + genuine.sign(sub="x").rpartition(".")[2]
    ),
    "payload changed": edit(lambda token: flip(token, token.index(".") + 20)),
    "header changed": lambda genuine, _: (
        genuine.sign({"x": 1}).partition(".")[0] + "." + genuine.sign().partition(".")[2]
    ),
    "signed with another key": lambda _, attacker: attacker.sign(),
    "signed with the key in its jwk": lambda _, attacker: attacker.sign(
        {"jwk": public_jwk(attacker.key.public_key())}
    ),
    "signed with the key in its jwk, no kid": lambda _, attacker: attacker.sign(
        {"kid": ABSENT, "jwk": public_jwk(attacker.key.public_key())}
    ),
    "signed with the key at its jku": lambda _, attacker: attacker.sign({"jku": f"{ISSUER}/jwks.json"}),
    # iss
    "iss missing": claims(iss=ABSENT),
    "iss null": claims(iss=None),
    "iss another": claims(iss="http://127.0.0.1:9999"),
    "iss with a slash more": claims(iss=ISSUER + "/"),
    "iss a list": claims(iss=[ISSUER]),
    # aud: each service refuses what is meant for the other in test_audience
    "aud missing": claims(aud=ABSENT),
    "aud null": claims(aud=None),
    "aud empty": claims(aud=[]),
    "aud another": claims(aud=["http://127.0.0.1:9999"]),
    "aud longer": claims(aud=[f"{ISSUER}/x", f"{COURSES}/x"]),
    "aud an object": claims(aud={ISSUER: 1, COURSES: 1}),
    "aud with a number": claims(aud=[ISSUER, COURSES, 1]),
    # exp, iat, nbf
    "exp missing": claims(exp=ABSENT),
    "exp null": claims(exp=None),
    "exp a text": lambda genuine, _: genuine.sign(exp=str(int(now(900)))),
    "exp true": claims(exp=True),
    "exp a list": claims(exp=[]),
    "exp not a number": claims(exp=float("nan")),
    "exp without end": claims(exp=float("inf")),
    "exp past": times(iat=-60, exp=-LEEWAY - 2),
    "exp past by far": times(iat=-7200, exp=-3600),
    "iat missing": claims(iat=ABSENT),
    "iat null": claims(iat=None),
    "iat a text": lambda genuine, _: genuine.sign(iat=str(int(now()))),
    "iat true": claims(iat=True),
    "iat to come": times(iat=LEEWAY + 5, exp=900),
    "nbf null": claims(nbf=None),
    "nbf a text": claims(nbf="0"),
    "nbf true": claims(nbf=True),
    "nbf to come": times(nbf=LEEWAY + 5),
    "lives too long": times(iat=0, exp=MAXIMUM_LIFETIME + 1),
    "issued long ago, still living": times(iat=-MAXIMUM_LIFETIME, exp=60),
    "expires when issued": times(iat=5, exp=5),
    "expires before issued": times(iat=5, exp=4),
    # sub, jti, client_id, scope
    **{
        f"{name} {kind}": claims(**{name: value})
        for name in ("sub", "jti", "client_id")
        for kind, value in {"missing": ABSENT, "null": None, "empty": "", "a number": 1, "a list": []}.items()
    },
    "scope null": claims(scope=None),
    "scope a list": claims(scope=["courses:read"]),
    # flask-jwt-extended's own idea of a refresh token
    "type refresh": claims(type="refresh"),
}


def pad(genuine: Forger, length: int) -> str:
    """Return a good token of `length` characters, or one more: base64url skips every fourth length."""
    size = length - len(genuine.sign(pad=""))
    return next(
        token for n in range(size * 3 // 4 - 4, size) if len(token := genuine.sign(pad="x" * n)) >= length
    )


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_good_token_is_accepted(
    make: Make, services: tuple[FlaskClient, FlaskClient], genuine: Forger, attacker: Forger
) -> None:
    response = services[1].get("/courses", headers=bearer(make(genuine, attacker)))

    assert response.status_code == 200


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_bad_token_is_refused(
    make: Make, services: tuple[FlaskClient, FlaskClient], genuine: Forger, attacker: Forger
) -> None:
    for client, path in zip(services, ("/users/me", "/courses"), strict=True):
        response = client.get(path, headers=bearer(make(genuine, attacker)))

        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith('Bearer error="invalid_token"')
        assert response.json
        assert response.json["error"] == "invalid_token"


@pytest.fixture(scope="module")
def inspector(services: tuple[FlaskClient, FlaskClient]) -> tuple[str, str]:
    """A client that may introspect tokens for every server."""
    return add_client(services[0], "inspector")


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_bad_token_is_not_active(
    make: Make,
    services: tuple[FlaskClient, FlaskClient],
    inspector: tuple[str, str],
    genuine: Forger,
    attacker: Forger,
) -> None:
    response = services[0].post("/introspect", data={"token": make(genuine, attacker)}, auth=inspector)

    # No token at all, or one with characters that no token has, is a malformed request.
    assert response.json == {"active": False} or response.status_code == 400


@pytest.mark.parametrize("name", ["as issued", "typ in capitals", "nbf has come", "as long as may be"])
def test_good_token_is_active(
    name: str, services: tuple[FlaskClient, FlaskClient], inspector: tuple[str, str], genuine: Forger
) -> None:
    token = ACCEPTED[name](genuine, genuine)

    response = services[0].post("/introspect", data={"token": token}, auth=inspector)

    assert response.json
    assert response.json["active"] is True


def test_length_cap_is_what_refuses_a_long_token(genuine: Forger) -> None:
    assert len(ACCEPTED["as long as may be"](genuine, genuine)) <= MAXIMUM_LENGTH
    assert len(REFUSED["too long"](genuine, genuine)) > MAXIMUM_LENGTH


def test_token_for_one_service_is_refused_by_the_other(
    services: tuple[FlaskClient, FlaskClient], genuine: Forger
) -> None:
    auth, course = services
    for audience, statuses in ((ISSUER, (200, 401)), (COURSES, (401, 200))):
        headers = bearer(genuine.sign(aud=[audience]))

        assert auth.get("/users/me", headers=headers).status_code == statuses[0]
        assert course.get("/courses", headers=headers).status_code == statuses[1]


@pytest.mark.parametrize("subject", ["not-a-uuid", "4c8b2f2e-3a4a-4a52-8a5d-0d6f3a1f9c11"])
def test_token_of_no_user_is_refused_by_the_issuer(
    subject: str, services: tuple[FlaskClient, FlaskClient], genuine: Forger
) -> None:
    response = services[0].get("/users/me", headers=bearer(genuine.sign(sub=subject)))

    assert response.status_code == 401


# What stands around a good token in the Authorization header, the status, and how the challenge begins.
HEADERS = {
    "Bearer": ("Bearer {}", 200, None),
    "small letters": ("bearer {}", 200, None),
    "capitals": ("BEARER {}", 200, None),
    "two spaces": ("Bearer  {}", 200, None),
    "spaces around": ("  Bearer {}  ", 200, None),
    "no header": (None, 401, "Bearer"),
    "empty": ("", 401, "Bearer"),
    "commas": (", ,", 401, "Bearer"),
    "bare token": ("{}", 401, "Bearer"),
    "Basic": ("Basic c3R1ZGVudDE6cGFzc3dvcmQxMjM=", 401, "Bearer"),
    "Basic, then Bearer": ("Basic c3R1ZGVudDE6cGFzc3dvcmQxMjM=, Bearer {}", 401, "Bearer"),
    "JWT": ("JWT {}", 401, "Bearer"),
    "no token": ("Bearer", 401, "Bearer error="),
    "no space": ("Bearer{}", 401, "Bearer error="),
    "tab": ("Bearer\t{}", 401, "Bearer error="),
    "quoted": ('Bearer "{}"', 401, "Bearer error="),
    "comma after": ("Bearer {},", 401, "Bearer error="),
    "comma before": (", Bearer {}", 401, "Bearer"),
    "parameter": ("Bearer token={}", 401, "Bearer error="),
    "twice": ("Bearer {0}, Bearer {0}", 401, "Bearer error="),
}


@pytest.mark.parametrize(("value", "status", "challenge"), HEADERS.values(), ids=HEADERS)
def test_authorization_header(
    value: str | None,
    status: int,
    challenge: str | None,
    services: tuple[FlaskClient, FlaskClient],
    genuine: Forger,
) -> None:
    headers = {} if value is None else {"Authorization": value.format(genuine.sign())}

    response = services[1].get("/courses", headers=headers)

    assert response.status_code == status
    found = response.headers.get("WWW-Authenticate")
    if challenge is None:
        assert found is None
    elif challenge == "Bearer":
        assert found == BARE_CHALLENGE
    else:
        assert found is not None
        assert found.startswith(challenge)


# Where else flask-jwt-extended could look for a token.
ELSEWHERE: dict[str, Callable[[str], dict[str, Any]]] = {
    "query": lambda token: {"query_string": {"jwt": token, "access_token": token}},
    "cookie": lambda token: {"headers": {"Cookie": f"access_token_cookie={token}"}},
    "JSON": lambda token: {"json": {"access_token": token}},
    "form": lambda token: {"data": {"access_token": token}},
    "another header": lambda token: {"headers": {"X-Authorization": f"Bearer {token}"}},
    "our own header": lambda token: {"headers": {"Checked-Bearer-Token": f"Bearer {token}"}},
}


@pytest.mark.parametrize("place", ELSEWHERE.values(), ids=ELSEWHERE)
def test_token_is_read_from_the_authorization_header_only(
    place: Callable[[str], dict[str, Any]], services: tuple[FlaskClient, FlaskClient], genuine: Forger
) -> None:
    response = services[1].get("/courses", **place(genuine.sign()))

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == BARE_CHALLENGE


def test_every_published_key_verifies_its_own_tokens(
    tmp_path: Path, key_pair: KeyPair, other_key_pair: KeyPair, genuine: Forger, attacker: Forger
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(key_pair.public_file.read_bytes() + other_key_pair.public_file.read_bytes())
    other = Forger(other_key_pair.private_key, other_key_pair.kid)

    with open_course(f"sqlite:///{tmp_path}/course.db", KeyPair(Path(), both)) as course:
        statuses = [
            course.get("/courses", headers=bearer(signer.sign())).status_code
            for signer in (genuine, other, attacker)
        ]

    assert statuses == [200, 200, 401]
