"""Let flask-jwt-extended accept what the verifier accepts: `@jwt_required()` guards a view with it."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Flask, Response, current_app, has_request_context, request
from flask_jwt_extended import JWTManager, get_jwt

from flask_resource_server.tokens.checks import MAXIMUM_LENGTH
from flask_resource_server.tokens.jws import WELL_FORMED
from flask_resource_server.tokens.keys import ALGORITHM
from flask_resource_server.tokens.verifier import Claims, RefusedToken, Verifier
from shared.errors import ApiError, InvalidToken, Unauthorized, respond
from shared.metrics import UNKNOWN_KIDS, count_refusal

_SCHEME = "bearer"
_AFTER_SCHEME = re.compile(rf" +({WELL_FORMED.pattern})")
_OWN_HEADER = "Checked-Bearer-Token"
_OWN_HEADER_IN_WSGI = "HTTP_CHECKED_BEARER_TOKEN"
_TOKEN_IN_WSGI = "shared.token"  # noqa: S105

# Returns from its verified claims which scopes of a token its holder still has.
CurrentScopes = Callable[[Claims], frozenset[str]]


@dataclass(frozen=True)
class VerifiedClaims:
    """What an accepted token says."""

    subject: str
    scopes: frozenset[str]
    session_id: str | None  # the login that it came of; a client's own token has none


def granted_scopes(claims: Claims) -> frozenset[str]:
    """Return the scopes that a token was given when it was issued."""
    return frozenset(claims.get("scope", "").split())


def init_app(app: Flask, verifier: Verifier, current_scopes: CurrentScopes = granted_scopes) -> None:
    """Let the views of `app` accept the access tokens that `verifier` accepts.

    `current_scopes` says which of a token's scopes count; a service other than the issuer knows only those
    that the token was given.
    """
    app.config.update(_jwt_options())
    app.extensions["current_scopes"] = current_scopes
    app.before_request(_take_token)
    manager = _Manager(app, verifier)
    manager.unauthorized_loader(lambda _reason: _refuse("missing", Unauthorized()))
    app.register_error_handler(RefusedToken, _respond_to_refused_token)
    # The refusals that are left to flask-jwt-extended: a view asks for a refresh, a fresh or a user's token.
    for loader in (
        manager.invalid_token_loader,
        manager.needs_fresh_token_loader,
        manager.user_lookup_error_loader,
    ):
        loader(lambda *_details: _refuse("invalid", InvalidToken()))


class _Manager(JWTManager):
    """Has tokens verified by the verifier instead of flask-jwt-extended and PyJWT."""

    def __init__(self, app: Flask, verifier: Verifier) -> None:
        super().__init__(app)
        self._verifier = verifier

    def _decode_jwt_from_config(self, encoded_token: str, *_args: Any, **_options: Any) -> Claims:
        environ = request.environ if has_request_context() else {}
        is_of_request = environ.get(_OWN_HEADER_IN_WSGI) == f"Bearer {encoded_token}"
        claims = self._verifier.verify(environ[_TOKEN_IN_WSGI] if is_of_request else encoded_token)
        return {"type": "access", "fresh": False} | claims  # which flask-jwt-extended relies on


def verified_claims() -> VerifiedClaims:
    """Return the claims of the token that `jwt_required` accepted for the current request."""
    claims = get_jwt()
    current_scopes: CurrentScopes = current_app.extensions["current_scopes"]
    return VerifiedClaims(claims["sub"], current_scopes(claims), claims.get("sid"))


def _take_token() -> None:
    """Take the token out of a Bearer header (RFC 6750 section 2.1), for flask-jwt-extended to find.

    It fails on some of what Authorization may hold, and would pick a token from among other things: so it
    looks into a header of our own, where what is not well-formed is marked as such, and what a client sends
    under that name is dropped. It parses the token's header once more: so it sees only that part.
    """
    environ = request.environ
    environ.pop(_OWN_HEADER_IN_WSGI, None)
    header = environ.get("HTTP_AUTHORIZATION", "").strip()
    if header[: len(_SCHEME)].lower() == _SCHEME:
        match = _AFTER_SCHEME.fullmatch(header, len(_SCHEME))
        token = match[1] if match and len(match[1]) <= MAXIMUM_LENGTH else "malformed"
        environ[_TOKEN_IN_WSGI] = token
        environ[_OWN_HEADER_IN_WSGI] = f"Bearer {token.partition('.')[0]}.."


def _jwt_options() -> dict[str, Any]:
    """Return every option of flask-jwt-extended that decides about a token, the defaults too."""
    return {
        # Tokens are verified elsewhere; what flask-jwt-extended could verify by itself is nothing.
        "JWT_ALGORITHM": ALGORITHM,
        "JWT_DECODE_ALGORITHMS": [ALGORITHM],
        "JWT_HEADER_NAME": _OWN_HEADER,
        "JWT_HEADER_TYPE": "Bearer",
        "JWT_IDENTITY_CLAIM": "sub",
        "JWT_PRIVATE_KEY": None,
        "JWT_PUBLIC_KEY": None,
        "JWT_SECRET_KEY": None,
        "JWT_TOKEN_LOCATION": ["headers"],
    }


def _respond_to_refused_token(error: RefusedToken) -> Response:
    if error.reason == "kid":
        UNKNOWN_KIDS.inc()
    return _refuse(error.reason, InvalidToken())


def _refuse(reason: str, error: ApiError) -> Response:
    count_refusal(reason)  # which the client is not told
    return respond(error)
