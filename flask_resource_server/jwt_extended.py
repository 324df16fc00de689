"""Make flask-jwt-extended's `@jwt_required()` use the verifier of the application."""

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

_NAME = "flask-jwt-extended"  # its key in `app.extensions`
_OWN_HEADER = "Checked-Bearer-Token"
_OWN_HEADER_IN_WSGI = "HTTP_CHECKED_BEARER_TOKEN"
_EMPTY = "e30"  # an empty JWT header, which flask-jwt-extended parses if the request has no token
_MARK = secrets.token_urlsafe(12)  # replaces the payload; nobody can guess it to refer to the request's token
_TOKEN_IN_WSGI = "flask_resource_server.token"  # noqa: S105


def is_taken(app: Flask) -> bool:
    """Return whether the application already uses flask-jwt-extended, for tokens of its own."""
    return _NAME in app.extensions


def init_app(app: Flask) -> None:
    """Let `@jwt_required()` accept the access tokens that the application's verifier accepts."""
    app.config.update(_jwt_options(app.config))
    manager = _Manager(app)
    manager.unauthorized_loader(lambda _reason: _respond("missing", Unauthorized()))
    # Refusals by flask-jwt-extended itself: a view requires a refresh token, a fresh one or a known user.
    for loader in (
        manager.invalid_token_loader,
        manager.needs_fresh_token_loader,
        manager.user_lookup_error_loader,
    ):
        loader(lambda *_details: _respond("invalid", InvalidToken()))
    # Runs before all `before_request` functions, whenever they are added: they may verify the token.
    app.url_value_preprocessor(lambda _endpoint, _values: _take_token(app, manager))
    got_request_exception.connect(_leave_to_flask, app)


class MissingToken(Unauthorized, NoAuthorizationError):
    """The request has no token: an HTTP error for Flask, and one that `optional=True` ignores."""


class _NoClaims(dict[str, Any]):
    """The claims of a request without a token: reading them raises `MissingToken`.

    flask-jwt-extended reads them where `optional=True` ignores the error. Its own error is not an HTTP error:
    a blueprint's or an API's handler for `Exception` would turn that into a 500.
    """

    def _refuse(self, *_args: object) -> NoReturn:
        error = MissingToken()
        announce_if_answered("missing", error)
        raise error

    __bool__ = __getitem__ = get = _refuse


class _Manager(JWTManager):
    """Verifies tokens with the application's verifier instead of PyJWT."""

    def _decode_jwt_from_config(self, encoded_token: str, *_args: Any, **_options: Any) -> dict[str, Any]:
        environ = request.environ if has_request_context() else {}
        is_of_request = environ.get(_OWN_HEADER_IN_WSGI) == f"Bearer {encoded_token}"
        token = environ.get(_TOKEN_IN_WSGI) if is_of_request else encoded_token
        if token is None:
            return _NoClaims()
        claims = accept(token) if is_of_request else verify_other(token)
        return {
            "type": "access",
            "fresh": False,
        } | claims.to_dict()  # flask-jwt-extended requires the first two


def _take_token(app: Flask, manager: _Manager) -> None:
    """Read the token from the Bearer header, and put a stand-in for it where flask-jwt-extended reads it.

    flask-jwt-extended fails on some values of Authorization, and finds tokens in others that have none. So it
    reads a header of our own, which replaces any that the client sent. It also parses the token's header
    again, so the stand-in has only that part of the token.
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
    """Keep Flask-RESTful and Flask-RESTX from responding with 500 to refusals by flask-jwt-extended itself.

    Such refusals happen if a view requires a refresh token, a fresh one, or a token in another location. Both
    frameworks handle every exception that is not an `HTTPException` as a 500, but first send this signal; if
    that raises, they leave the exception to Flask, which has a handler for it. Flask itself sends the signal
    only for exceptions without a handler.
    """
    if isinstance(exception, JWTExtendedException):
        raise exception


def _jwt_options(theirs: Mapping[str, Any]) -> dict[str, Any]:
    """Return every option of flask-jwt-extended that affects which tokens are accepted, defaults included."""
    return {
        # `_Manager` uses neither of these nor any key. An application that has set them uses them for
        # something else, so they are not overwritten.
        "JWT_ALGORITHM": theirs.get("JWT_ALGORITHM", ALGORITHM),
        "JWT_DECODE_ALGORITHMS": theirs.get("JWT_DECODE_ALGORITHMS", [ALGORITHM]),
        "JWT_HEADER_NAME": _OWN_HEADER,
        "JWT_HEADER_TYPE": "Bearer",
        "JWT_IDENTITY_CLAIM": "sub",
        "JWT_TOKEN_LOCATION": ["headers"],
    }


def _respond(reason: str, error: BearerError) -> ResponseReturnValue:
    """Return the application's response to an error that cannot be raised where this is called."""
    announce(reason, error)
    return current_app.handle_http_exception(error)
