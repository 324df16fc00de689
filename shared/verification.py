"""Decide whether an access token is accepted: every check on a token stands in this file.

In this order: the Authorization header (`_check_authorization`), the JOSE header (`choose_key`), what
flask-jwt-extended does by itself: algorithm, signature, issuer, audience and times (`_jwt_options`), the
claims that it leaves open (`check_claims`), and revocation. RFC 9068 section 4 and RFC 8725 decide what is
checked.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from flask import Flask, Response, current_app, has_request_context, request
from flask_jwt_extended import JWTManager, get_jwt

from shared.errors import ApiError, InvalidToken, Unauthorized, respond
from shared.keys import ALGORITHM
from shared.metrics import UNKNOWN_KIDS, count_refusal
from shared.public_keys import PublicKeys
from shared.token_cache import TokenCache

TOKEN_TYPE = "at+jwt"  # noqa: S105  # RFC 9068 section 2.1
LEEWAY = 10  # seconds that two clocks may differ
MAXIMUM_LIFETIME = 3600  # seconds from `iat` to `exp`
MAXIMUM_LENGTH = 4096  # characters of an encoded token

WELL_FORMED = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)

_BEARER = re.compile(rf"bearer +({WELL_FORMED.pattern})", re.ASCII | re.IGNORECASE)
_OWN_HEADER = "Checked-Bearer-Token"
_OWN_HEADER_IN_WSGI = "HTTP_CHECKED_BEARER_TOKEN"
_TOKEN_IN_WSGI = "shared.token"  # noqa: S105

IsRevoked = Callable[[dict[str, Any]], bool]
CurrentScopes = Callable[[dict[str, Any]], frozenset[str]]


@dataclass(frozen=True)
class VerifiedClaims:
    """What an accepted token says."""

    subject: str
    scopes: frozenset[str]
    session_id: str | None  # the login that it came of; a client's own token has none


def init_app(
    app: Flask,
    *,
    issuer: str,
    audience: str,
    public_keys: PublicKeys,
    is_revoked: IsRevoked,
    current_scopes: CurrentScopes | None = None,
) -> None:
    """Let `app` accept the access tokens that `issuer` made for `audience`, this service's own URL.

    `is_revoked` is asked last, about the claims of a token that is good in every other respect. The scopes of
    `verified_claims` are those of the token that `current_scopes` returns too, if it is given.
    """
    app.extensions["current_scopes"] = current_scopes
    app.config.update(_jwt_options(issuer, audience))
    app.before_request(_check_authorization)
    manager = _Manager(app, public_keys)

    @manager.decode_key_loader
    def choose_key_by_header(
        unverified_header: dict[str, Any], _unverified_claims: dict[str, Any]
    ) -> RSAPublicKey:
        return choose_key(unverified_header, public_keys)

    manager.token_verification_loader(lambda _header, claims: check_claims(claims))
    manager.token_in_blocklist_loader(lambda _header, claims: is_revoked(claims))
    manager.unauthorized_loader(lambda _reason: _refuse("missing", Unauthorized()))
    for reason, loader in (
        ("expired", manager.expired_token_loader),
        ("invalid", manager.invalid_token_loader),
        ("invalid", manager.needs_fresh_token_loader),
        ("revoked", manager.revoked_token_loader),
        ("claims", manager.token_verification_failed_loader),
        ("invalid", manager.user_lookup_error_loader),
    ):
        loader(lambda *_details, reason=reason: _refuse(reason, InvalidToken()))


class _Manager(JWTManager):
    """Decodes the token that `_check_authorization` has found, unless the cache knows it."""

    def __init__(self, app: Flask, public_keys: PublicKeys) -> None:
        super().__init__(app)
        self._cache = TokenCache(public_keys, LEEWAY)

    def _decode_jwt_from_config(self, encoded_token: str, *args: Any, **options: Any) -> dict[str, Any]:
        environ = request.environ if has_request_context() else {}
        if environ.get(_OWN_HEADER_IN_WSGI) != f"Bearer {encoded_token}":
            return super()._decode_jwt_from_config(encoded_token, *args, **options)  # a view's own affair
        token = environ[_TOKEN_IN_WSGI]
        claims = self._cache.get(token)
        if claims is None:
            claims = super()._decode_jwt_from_config(token)
            if check_claims(claims):
                self._cache.add(token, jwt.get_unverified_header(token)["kid"], claims)
        return claims


def verified_claims() -> VerifiedClaims:
    """Return the claims of the token that `jwt_required` accepted for the current request."""
    claims = get_jwt()
    scopes = frozenset(claims.get("scope", "").split())
    current_scopes: CurrentScopes | None = current_app.extensions["current_scopes"]
    if current_scopes and scopes:
        scopes &= current_scopes(claims)
    return VerifiedClaims(claims["sub"], scopes, claims.get("sid"))


def _check_authorization() -> None:
    """Take the token out of a Bearer header (RFC 6750 section 2.1), for flask-jwt-extended to find.

    It fails on some of what Authorization may hold, and would pick a token from among other things: so it
    looks into a header of our own, where what is not well-formed is marked as such, and what a client sends
    under that name is dropped. It would parse a token three times: so the header holds only its first part.
    """
    environ = request.environ
    environ.pop(_OWN_HEADER_IN_WSGI, None)
    header = environ.get("HTTP_AUTHORIZATION", "").strip()
    if header[:6].lower() == "bearer":
        match = _BEARER.fullmatch(header)
        token = match[1] if match and len(match[1]) <= MAXIMUM_LENGTH else "malformed"
        environ[_TOKEN_IN_WSGI] = token
        environ[_OWN_HEADER_IN_WSGI] = f"Bearer {token.partition('.')[0]}.."


def choose_key(
    unverified_header: dict[str, Any], public_keys: PublicKeys, kind: str = TOKEN_TYPE
) -> RSAPublicKey:
    """Check the JOSE header of a `kind` of JWT, but for `alg`, and return the key that must have signed.

    Keys that the token brings or names itself (`jwk`, `jku`, `x5c`, `x5u`) are never looked at.
    Raises `jwt.InvalidTokenError`.
    """
    unverified_type = unverified_header.get("typ")  # RFC 8725 section 3.11
    if not isinstance(unverified_type, str):
        raise jwt.InvalidTokenError("typ")
    if unverified_type.lower() not in {kind, f"application/{kind}"}:
        raise jwt.InvalidTokenError("typ")
    if "crit" in unverified_header:  # no extension is understood here (RFC 7515 section 4.1.11)
        raise jwt.InvalidTokenError("crit")
    key = public_keys.get(unverified_header.get("kid", ""))
    if key is None:
        UNKNOWN_KIDS.inc()
        raise jwt.InvalidTokenError("kid")
    return key


def _jwt_options(issuer: str, audience: str) -> dict[str, Any]:
    """Return every option of flask-jwt-extended that decides about a token, the defaults too."""
    return {
        # The one algorithm, whatever a token's header says (RFC 8725 section 3.1).
        "JWT_ALGORITHM": ALGORITHM,
        "JWT_DECODE_ALGORITHMS": [ALGORITHM],
        "JWT_DECODE_AUDIENCE": audience,
        "JWT_DECODE_ISSUER": issuer,
        "JWT_DECODE_LEEWAY": LEEWAY,
        "JWT_HEADER_NAME": _OWN_HEADER,
        "JWT_HEADER_TYPE": "Bearer",
        "JWT_IDENTITY_CLAIM": "sub",
        "JWT_PRIVATE_KEY": None,
        "JWT_PUBLIC_KEY": None,  # the `kid` of a token chooses among the keys
        "JWT_SECRET_KEY": None,
        "JWT_TOKEN_LOCATION": ["headers"],
        "JWT_VERIFY_SUB": True,
    }


def check_claims(claims: dict[str, Any]) -> bool:
    """Check what PyJWT leaves open, once it has verified signature, issuer, audience and times."""
    times = [claims.get("exp"), claims.get("iat"), claims.get("nbf", claims.get("iat"))]
    if not all(type(time) in {int, float} for time in times):  # RFC 7519 section 2; True is no number here
        return False
    if not 0 < claims["exp"] - claims["iat"] <= MAXIMUM_LIFETIME:
        return False
    if not all(isinstance(claims.get(name), str) and claims[name] for name in ("sub", "jti", "client_id")):
        return False
    if claims.get("type", "access") != "access":  # what flask-jwt-extended calls its refresh tokens
        return False
    return isinstance(claims.get("scope", ""), str)


def _refuse(reason: str, error: ApiError) -> Response:
    count_refusal(reason)  # which the client is not told
    return respond(error)
