"""The table of good and bad tokens: every check on tokens has at least one row here."""

import json
import time
from base64 import urlsafe_b64decode
from collections.abc import Callable
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from flask_resource_server.tokens.checks import LEEWAY, MAXIMUM_LENGTH, MAXIMUM_LIFETIME
from flask_resource_server.tokens.jws import decode_base64url
from flask_resource_server.tokens.keys import public_jwk
from tests.forger import (
    ABSENT,
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
    """Claims whose values are seconds from now."""
    return lambda genuine, _attacker: genuine.sign(**{name: now(value) for name, value in offsets.items()})


def payload(text: bytes) -> Make:
    return lambda genuine, _attacker: genuine.sign_payload(text)


def edit(change: Callable[[str], str]) -> Make:
    return lambda genuine, _attacker: change(genuine.sign())


def replace_in_payload(token: str, old: bytes, new: bytes) -> str:
    head, payload, signature = token.split(".")
    return f"{head}.{encode(decode_base64url(payload).replace(old, new))}.{signature}"


def flip(text: str, index: int) -> str:
    flipped = "A" if text[index] != "A" else "B"
    parts = list(text)
    parts[index] = flipped
    return "".join(parts)


def genuine_header(genuine: Forger) -> dict[str, Any]:
    return {"alg": "RS256", "typ": "at+jwt", "kid": genuine.kid}


def sign_for_client(genuine: Forger, kind: str, **changes: Any) -> str:
    """Return a token for the client `web`, an ID token or a logout token, which gives no access."""
    members = {"aud": "web", "client_id": ABSENT, "scope": ABSENT, "jti": ABSENT, **changes}
    return genuine.sign({"typ": kind}, **members)


def genuine_claims(genuine: Forger) -> str:
    payload = genuine.sign().split(".")[1]
    return urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode()


def sign_header(genuine: Forger, encoding: str) -> str:
    return sign_text(genuine, json.dumps(genuine_header(genuine)), encoding)


def sign_text(genuine: Forger, header: str, encoding: str = "utf-8") -> str:
    """Return a token with any text as its header."""
    signed = f"{encode(header.encode(encoding))}.{genuine.sign().split('.')[1]}"
    return f"{signed}.{encode(rs(genuine.key)(signed.encode()))}"


def respell(part: str) -> str:
    """Re-encode a part of a token: the last base64url character has bits that decoders ignore."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    size = len(part.rpartition(".")[2])
    assert size % 4, "it has no such bits"
    return part[:-1] + alphabet[alphabet.index(part[-1]) ^ 1]


ACCEPTED: dict[str, Make] = {
    "as issued": claims(),
    "typ in capitals": header(typ="AT+JWT"),
    "typ in its long form": header(typ="application/at+jwt"),
    "typ in its long form and capitals": header(typ="Application/AT+JWT"),
    "jwk, ignored": lambda genuine, attacker: genuine.sign({"jwk": public_jwk(attacker.key.public_key())}),
    "jku, ignored": header(jku="http://127.0.0.1:1/jwks.json"),
    "x5u and x5c, ignored": header(x5u="http://127.0.0.1:1/x", x5c=["AAAA"]),
    "aud is a string": lambda genuine, _: genuine.sign(aud=genuine.resource),
    "exp with a fraction": times(exp=900.5),
    "exp within the leeway": times(iat=-60, exp=-(LEEWAY // 2)),
    "iat within the leeway": times(iat=LEEWAY // 2, exp=60),
    "nbf in the past": times(nbf=-1),
    "nbf within the leeway": times(nbf=LEEWAY // 2),
    "the longest lifetime": times(iat=0, exp=MAXIMUM_LIFETIME),
    "unknown claim": claims(colour="blue"),
    "as long as may be": lambda genuine, _: pad(genuine, MAXIMUM_LENGTH - 1),
}

# By the reason of the first check that each of them fails.
REFUSED_BY: dict[str, dict[str, Make]] = {
    "form": {
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
        "padded with two": edit(lambda token: token + "=="),
        "padded inside": edit(lambda token: token.replace(".", "==.", 1)),
        "non-zero padding bits in the last character": edit(respell),
        "non-zero padding bits in the header": lambda genuine, _: (
            respell(genuine.sign({"x": "y"}).partition(".")[0]) + ".e30.AAAA"
        ),
        "header is not JSON": edit(lambda token: encode(b"{") + token[token.index(".") :]),
        "header is not an object": edit(lambda token: encode(b"[]") + token[token.index(".") :]),
        "header in UTF-16": lambda genuine, _: sign_header(genuine, "utf-16"),
        "header in UTF-32": lambda genuine, _: sign_header(genuine, "utf-32-le"),
        "header with a byte order mark": lambda genuine, _: sign_header(genuine, "utf-8-sig"),
        "header with a member twice": lambda genuine, _: sign_text(
            genuine, json.dumps(genuine_header(genuine))[:-1] + ', "alg": "RS256"}'
        ),
        "header with a nested member twice": lambda genuine, _: sign_text(
            genuine, json.dumps(genuine_header(genuine))[:-1] + ', "x": [{"a": 1, "a": 1}]}'
        ),
        "header is nested too deeply": lambda genuine, _: sign_text(genuine, "[" * 2500),
        "header with a lone surrogate": lambda genuine, _: sign_text(
            genuine, json.dumps(genuine_header(genuine))[:-1] + ', "x": "\\ud800"}'
        ),
        "payload in UTF-16": lambda genuine, _: genuine.sign_payload(
            genuine_claims(genuine).encode("utf-16")
        ),
        "payload in UTF-16 without its mark": lambda genuine, _: genuine.sign_payload(
            genuine_claims(genuine).encode("utf-16-le")
        ),
        "payload in UTF-32": lambda genuine, _: genuine.sign_payload(
            genuine_claims(genuine).encode("utf-32")
        ),
        "payload with a byte order mark": lambda genuine, _: genuine.sign_payload(
            genuine_claims(genuine).encode("utf-8-sig")
        ),
        "payload with a member twice": lambda genuine, _: genuine.sign_payload(
            genuine_claims(genuine)[:-1].encode() + b', "sub": "x"}'
        ),
        "payload with a nested member twice": lambda genuine, _: genuine.sign_payload(
            genuine_claims(genuine)[:-1].encode() + b', "x": {"y": [{"a": 1, "a": 1}]}}'
        ),
        "payload with a lone surrogate": lambda genuine, _: genuine.sign_payload(
            genuine_claims(genuine)[:-1].encode() + b', "x": "\\ud800"}'
        ),
        "payload with NaN": lambda genuine, _: genuine.sign_payload(
            genuine_claims(genuine)[:-1].encode() + b', "x": NaN}'
        ),
        "payload is not JSON": payload(b"{"),
        "payload is not an object": payload(b"[]"),
        "payload is null": payload(b"null"),
        "payload is not UTF-8": payload(b'{"sub": "\xff"}'),
        "payload is nested too deeply": payload(b"[" * 2500),
        "exp NaN": claims(exp=float("nan")),
        "exp infinite": claims(exp=float("inf")),
        "signature empty": lambda genuine, _: genuine.sign(None, unsigned),
        "alg none, unsigned": lambda genuine, _: genuine.sign({"alg": "none"}, unsigned),
        "alg None, unsigned": lambda genuine, _: genuine.sign({"alg": "None"}, unsigned),
    },
    "alg": {
        "alg missing": header(alg=ABSENT),
        "alg null": header(alg=None),
        "alg a list": header(alg=["RS256"]),
        "alg in lower case": header(alg="rs256"),
        "alg none, signed": header(alg="none"),
        "alg HS256 with the public PEM": lambda genuine, _: genuine.sign(
            {"alg": "HS256"}, hs256(pem(genuine))
        ),
        "alg HS256 with the stripped PEM": lambda genuine, _: genuine.sign(
            {"alg": "HS256"}, hs256(pem(genuine).strip())
        ),
        "alg HS256 with the public DER": lambda genuine, _: genuine.sign(
            {"alg": "HS256"}, hs256(der(genuine))
        ),
        "alg HS256 with an empty key": lambda genuine, _: genuine.sign({"alg": "HS256"}, hs256(b"")),
        "alg RS384": lambda genuine, _: genuine.sign({"alg": "RS384"}, rs(genuine.key, SHA384_DIGEST)),
        "alg RS512": lambda genuine, _: genuine.sign({"alg": "RS512"}, rs(genuine.key, SHA512_DIGEST)),
        "alg PS256": lambda genuine, _: genuine.sign({"alg": "PS256"}, ps256(genuine.key)),
        "alg ES256": lambda genuine, _: genuine.sign(
            {"alg": "ES256"}, es256(ec.generate_private_key(ec.SECP256R1()))
        ),
    },
    "typ": {
        "typ missing": header(typ=ABSENT),
        "typ null": header(typ=None),
        "typ a number": header(typ=1),
        "typ a list": header(typ=["at+jwt"]),
        "typ JWT": header(typ="JWT"),
        "typ of a status list": header(typ="statuslist+jwt"),
        "typ of a logout token": header(typ="logout+jwt"),
        "an ID token": lambda genuine, _: sign_for_client(genuine, "JWT", at_hash="x", auth_time=now()),
        "an ID token for a server": lambda genuine, _: genuine.sign({"typ": "JWT"}, azp="web", nonce="x"),
        "a logout token": lambda genuine, _: sign_for_client(genuine, "logout+jwt", jti="x", events={}),
        "typ with a parameter": header(typ="at+jwt; v=1"),
    },
    "crit": {
        "crit with the name of a claim": header(crit=["exp"]),
        "crit with b64": header(crit=["b64"], b64=True),
        "crit empty": header(crit=[]),
        "crit null": header(crit=None),
    },
    "kid": {
        "kid missing": header(kid=ABSENT),
        "kid null": header(kid=None),
        "kid empty": header(kid=""),
        "kid a number": header(kid=1),
        "kid a list": header(kid=["x"]),
        "kid unknown": header(kid="unknown"),
        "kid a path": header(kid="../../dev/null"),
        "signed with the key in its jwk, no kid": lambda _, attacker: attacker.sign(
            {"kid": ABSENT, "jwk": public_jwk(attacker.key.public_key())}
        ),
    },
    "signature": {
        "alg RS256, signed with HS256": lambda genuine, _: genuine.sign(None, hs256(pem(genuine))),
        "signature cut": edit(lambda token: token[:-2]),
        "signature changed": edit(lambda token: flip(token, -20)),
        "signature of another token": lambda genuine, _: (
            genuine.sign().rpartition(".")[0] + "." + genuine.sign(sub="x").rpartition(".")[2]
        ),
        "payload changed": edit(lambda token: replace_in_payload(token, b"courses:read", b"courses:ride")),
        "header changed": lambda genuine, _: (
            genuine.sign({"x": 1}).partition(".")[0] + "." + genuine.sign().partition(".")[2]
        ),
        "signed with another key": lambda _, attacker: attacker.sign(),
        "signed with the key in its jwk": lambda _, attacker: attacker.sign(
            {"jwk": public_jwk(attacker.key.public_key())}
        ),
        "signed with the key at its jku": lambda _, attacker: attacker.sign(
            {"jku": f"{attacker.issuer}/jwks.json"}
        ),
    },
    "iss": {
        "iss missing": claims(iss=ABSENT),
        "iss null": claims(iss=None),
        "iss another": claims(iss="http://127.0.0.1:9999"),
        "iss with an extra slash": lambda genuine, _: genuine.sign(iss=genuine.issuer + "/"),
        "iss a list": lambda genuine, _: genuine.sign(iss=[genuine.issuer]),
    },
    "aud": {
        "aud missing": claims(aud=ABSENT),
        "aud null": claims(aud=None),
        "aud empty": claims(aud=[]),
        "aud another": claims(aud=["http://127.0.0.1:9999"]),
        "aud longer": lambda genuine, _: genuine.sign(aud=[f"{genuine.issuer}/x", f"{genuine.resource}/x"]),
        "aud an object": lambda genuine, _: genuine.sign(aud={genuine.issuer: 1, genuine.resource: 1}),
        "aud with a number": lambda genuine, _: genuine.sign(aud=[genuine.issuer, genuine.resource, 1]),
    },
    "times": {
        "exp missing": claims(exp=ABSENT),
        "exp null": claims(exp=None),
        "exp a string": lambda genuine, _: genuine.sign(exp=str(int(now(900)))),
        "exp true": claims(exp=True),
        "exp a list": claims(exp=[]),
        "exp larger than any float": lambda genuine, _: genuine.sign(exp=10**400),
        "iat missing": claims(iat=ABSENT),
        "iat null": claims(iat=None),
        "iat a string": lambda genuine, _: genuine.sign(iat=str(int(now()))),
        "iat true": claims(iat=True),
        "nbf null": claims(nbf=None),
        "nbf a string": claims(nbf="0"),
        "nbf true": claims(nbf=True),
    },
    "expired": {
        "exp past": times(iat=-60, exp=-LEEWAY - 2),
        "exp long past": times(iat=-7200, exp=-3600),
    },
    "early": {
        "iat in the future": times(iat=LEEWAY + 5, exp=900),
        "nbf in the future": times(nbf=LEEWAY + 5),
    },
    "lifetime": {
        "lives too long": times(iat=0, exp=MAXIMUM_LIFETIME + 1),
        "issued long ago, not yet expired": times(iat=-MAXIMUM_LIFETIME, exp=60),
        "expires when issued": times(iat=5, exp=5),
        "expires before issued": times(iat=5, exp=4),
    },
    "claims": {
        **{
            f"{name} {kind}": claims(**{name: value})
            for name in ("sub", "jti", "client_id")
            for kind, value in {
                "missing": ABSENT,
                "null": None,
                "empty": "",
                "a number": 1,
                "a list": [],
            }.items()
        },
    },
    "binding": {
        "bound to a key by DPoP": claims(cnf={"jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"}),
        "bound to a certificate": claims(cnf={"x5t#S256": "bwcK0esc3ACC3DB2Y5_lESsXE8o9ltc05O89jdN-dg2"}),
        "binding null": claims(cnf=None),
    },
    "scope_claim": {
        "scope null": claims(scope=None),
        "scope a list": claims(scope=["courses:read"]),
        "type refresh": claims(type="refresh"),
    },
}

REFUSED: dict[str, Make] = {name: make for rows in REFUSED_BY.values() for name, make in rows.items()}


def pad(genuine: Forger, length: int) -> str:
    """Return a good token of `length` characters, or one more: not every length is possible in base64url."""
    size = length - len(genuine.sign(pad=""))
    return next(
        token for n in range(size * 3 // 4 - 4, size) if len(token := genuine.sign(pad="x" * n)) >= length
    )
