"""Let flask-jwt-extended accept what the verifier accepts: `@jwt_required()` guards a view with it."""

import secrets
from collections.abc import Mapping
from typing import Any, NoReturn

from flask import Flask, current_app, has_request_context, request
from flask.signals import got_request_exception
from flask.typing import ResponseReturnValue
from flask_jwt_extended import JWTManager
from flask_jwt_extended.exceptions import JWTExtendedException, NoAuthorizationError

from flask_resource_server.authentication import (
    accept,
    announce,
    announce_if_answered,
    read_bearer_token,
    verify_other,
)
from flask_resource_server.errors import BearerError, InvalidToken, Unauthorized
from flask_resource_server.tokens.keys import ALGORITHM

_NAME = "flask-jwt-extended"  # among the extensions of an application
_OWN_HEADER = "Checked-Bearer-Token"
_OWN_HEADER_IN_WSGI = "HTTP_CHECKED_BEARER_TOKEN"
_EMPTY = "e30"  # a JWT's header without members, for flask-jwt-extended to parse where there is no token
_MARK = secrets.token_urlsafe(12)  # in the payload's place, so that nobody else can name the request's token
_TOKEN_IN_WSGI = "flask_resource_server.token"  # noqa: S105


def is_taken(app: Flask) -> bool:
    """Tell whether the application uses flask-jwt-extended for tokens of its own."""
    return _NAME in app.extensions


def init_app(app: Flask) -> None:
    """Let `@jwt_required()` accept the access tokens that the application's verifier accepts."""
    app.config.update(_jwt_options(app.config))
    manager = _Manager(app)
    manager.unauthorized_loader(lambda _reason: _respond("missing", Unauthorized()))
    # The refusals that are left to flask-jwt-extended: a view asks for a refresh, a fresh or a user's token.
    for loader in (
        manager.invalid_token_loader,
        manager.needs_fresh_token_loader,
        manager.user_lookup_error_loader,
    ):
        loader(lambda *_details: _respond("invalid", InvalidToken()))
    # Before every `before_request` function, whenever it was registered: it may verify the token.
    app.url_value_preprocessor(lambda _endpoint, _values: _take_token(app, manager))
    got_request_exception.connect(_leave_to_flask, app)


class MissingToken(Unauthorized, NoAuthorizationError):
    """No token came: an HTTP error for Flask and its frameworks, and one that `optional=True` passes over."""


class _NoClaims(dict[str, Any]):
    """The claims of a request without a token: whoever looks at them gets the error.

    flask-jwt-extended looks first where `optional=True` passes over the error. If it raised its own, which is
    no HTTP error, a blueprint's or an API's handler for `Exception` would answer 500.
    """

    def _refuse(self, *_args: object) -> NoReturn:
        error = MissingToken()
        announce_if_answered("missing", error)
        raise error

    __bool__ = __getitem__ = get = _refuse


class _Manager(JWTManager):
    """Has tokens verified by the verifier instead of flask-jwt-extended and PyJWT."""

    def _decode_jwt_from_config(self, encoded_token: str, *_args: Any, **_options: Any) -> dict[str, Any]:
        environ = request.environ if has_request_context() else {}
        is_of_request = environ.get(_OWN_HEADER_IN_WSGI) == f"Bearer {encoded_token}"
        token = environ.get(_TOKEN_IN_WSGI) if is_of_request else encoded_token
        if token is None:
            return _NoClaims()
        claims = accept(token) if is_of_request else verify_other(token)
        return {"type": "access", "fresh": False} | claims.to_dict()  # which flask-jwt-extended relies on


def _take_token(app: Flask, manager: _Manager) -> None:
    """Take the token out of the Bearer header, for flask-jwt-extended to find.

    It fails on some of what Authorization may hold, and would pick a token from among other things: so it
    looks into a header of our own, and what a client sends under that name is dropped. It parses the token's
    header once more: so it sees only that part.
    """
    if app.extensions[_NAME] is not manager:
        raise RuntimeError(
            "JWTManager(app) was called after ResourceServer(app) and has replaced it: call it before, and "
            "protect the views for this issuer's tokens with @require_scope() alone"
        )
    environ = request.environ
    token = read_bearer_token(environ)
    environ[_TOKEN_IN_WSGI] = token
    environ[_OWN_HEADER_IN_WSGI] = f"Bearer {(token or _EMPTY).partition('.')[0]}.{_MARK}."


def _leave_to_flask(_app: Flask, exception: BaseException, **_details: Any) -> None:
    """Keep Flask-RESTful and Flask-RESTX from answering 500 to what flask-jwt-extended refuses by itself.

    A view may ask for a refresh token or a fresh one, or for a token in another location. They answer for
    every exception that is not an `HTTPException`, but leave it to Flask, which has a handler for it, if
    sending this signal fails. Flask sends it for nothing that has a handler.
    """
    if isinstance(exception, JWTExtendedException):
        raise exception


def _jwt_options(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option of flask-jwt-extended that decides about a token, the defaults too."""
    return {
        # `_Manager` verifies without these, and without keys: an application that has settings of these names
        # has them for something else, and keeps them.
        "JWT_ALGORITHM": theirs.get("JWT_ALGORITHM", ALGORITHM),
        "JWT_DECODE_ALGORITHMS": theirs.get("JWT_DECODE_ALGORITHMS", [ALGORITHM]),
        "JWT_HEADER_NAME": _OWN_HEADER,
        "JWT_HEADER_TYPE": "Bearer",
        "JWT_IDENTITY_CLAIM": "sub",
        "JWT_TOKEN_LOCATION": ["headers"],
    }


def _respond(reason: str, error: BearerError) -> ResponseReturnValue:
    """Return the application's answer to an error that cannot be raised where this is called."""
    announce(reason, error)
    return current_app.handle_http_exception(error)
