"""Find the access token of a request, verify it once, and keep its claims for the request."""

import inspect
import logging
import re
import weakref
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from flask import Request, Response, current_app, has_request_context, request

from flask_resource_server.errors import BearerError, InvalidToken, TemporarilyUnavailable, Unauthorized
from flask_resource_server.exceptions import ConfigurationError, Undetermined
from flask_resource_server.signals import token_accepted, token_refused
from flask_resource_server.tokens.claims import VerifiedClaims
from flask_resource_server.tokens.jws import WELL_FORMED
from flask_resource_server.tokens.verifier import RefusedToken

if TYPE_CHECKING:
    from flask_resource_server.extension import ResourceServer

_logger = logging.getLogger(__name__)

MALFORMED = "malformed"  # replaces a token that is not well-formed; no verifier accepts it

_SCHEME = "bearer"
_BEARER = re.compile(r"(?:^|,)\s*bearer\b", re.IGNORECASE)  # a Bearer challenge in a WWW-Authenticate header
_AFTER_SCHEME = re.compile(rf" +({WELL_FORMED.pattern})")
# Keys in the WSGI environ, which clients cannot set. `flask.g` is not suitable: it belongs to the application
# context, which may outlive a request. The environ may too: Flask-SocketIO creates a new request from it for
# each event, and middleware copies it for requests of its own. So the claims are stored with the request that
# they belong to.
_ACCEPTED = "flask_resource_server.accepted"
_REFUSED = "flask_resource_server.refused"
_PENDING = "flask_resource_server.pending"  # the reason of a refusal that has not been announced yet


def current_server() -> "ResourceServer":
    """Return the extension of the current application. Raises `RuntimeError` if it has none."""
    try:
        return cast("ResourceServer", current_app.extensions["flask_resource_server"])
    except KeyError:
        raise RuntimeError(
            "this application is not a resource server yet: call ResourceServer(app), or "
            "resource_server.init_app(app) in its factory"
        ) from None


def read_bearer_token(environ: Mapping[str, Any]) -> str | None:
    """Return the token in the Bearer header (RFC 6750 section 2.1), or None without such a header.

    Returns `MALFORMED` for a token that is not well-formed.
    """
    header = environ.get("HTTP_AUTHORIZATION", "").strip()
    if header[: len(_SCHEME)].lower() != _SCHEME:
        return None
    match = _AFTER_SCHEME.fullmatch(header, len(_SCHEME))
    return match[1] if match else MALFORMED


def authenticate() -> VerifiedClaims:
    """Return the claims of the current request's token, and verify it if that has not been done yet.

    Raises `Unauthorized`, `InvalidToken`, `TemporarilyUnavailable`, or what `check_claims` raises.
    """
    current, server = _current_request(), current_server()
    if claims := _find_accepted(current, server):
        return claims
    token = read_bearer_token(current.environ)
    if token is None:
        refuse("missing", Unauthorized())
    return accept(token)


def accept(token: str) -> VerifiedClaims:
    """Verify the current request's token, and keep its claims for the rest of the request.

    Raises the same errors as `authenticate`.
    """
    current, server = _current_request(), current_server()
    claims = _verify(server, token, refuse)
    current.environ[_ACCEPTED] = weakref.ref(current), server, claims
    if token_accepted.receivers:
        token_accepted.send(current_app._get_current_object(), claims=claims)  # type: ignore[attr-defined]
    return claims


def _current_request() -> Request:
    """Return the request itself: each access through Flask's proxy costs as much as ten dict lookups."""
    current: Request = request._get_current_object()  # type: ignore[attr-defined]
    return current


def verify_other(token: str) -> VerifiedClaims:
    """Verify a token that is not the current request's, without storing its claims or sending a signal.

    If they were stored, the request would continue with the identity of another token. Raises the same errors
    as `authenticate`.
    """
    return _verify(current_server(), token, _raise)


def _verify(
    server: "ResourceServer", token: str, refuse: Callable[[str, BearerError], NoReturn]
) -> VerifiedClaims:
    try:
        claims = server.verifier.verify(token)
        _check_claims(server, claims)
    except RefusedToken as error:
        refuse(error.reason, InvalidToken())
    except (
        Undetermined,
        ConfigurationError,
    ) as error:  # keys are read when first needed, and may be unusable
        server.log_problem(str(error))
        refuse("undetermined", TemporarilyUnavailable())
    except BearerError as error:
        refuse("claims_check", error)
    return claims


def _check_claims(server: "ResourceServer", claims: VerifiedClaims) -> None:
    result = server.check_claims(claims)
    # `return False` was meant to refuse the token, and a coroutine to be awaited; both would accept it.
    if result is not None:
        if inspect.iscoroutine(result):
            result.close()  # otherwise Python warns that it was never awaited
        raise RuntimeError(
            f"check_claims returned a value of type {type(result).__name__}: it must return None, and raise "
            "InvalidToken, Forbidden or InsufficientScope to refuse a token; one that awaits must be a "
            "function made with `async def`"
        )


def _raise(_reason: str, error: BearerError) -> NoReturn:
    raise error from None


def refuse(reason: str, error: BearerError) -> NoReturn:
    """Raise the error, and announce the refusal under `reason`, a label that is not sent to the client."""
    announce(reason, error)
    raise error from None


def announce(reason: str, error: BearerError) -> None:
    """Log a refusal, send `token_refused`, and have `complete_response` add the headers of the error."""
    if has_request_context():
        request.environ[_REFUSED] = error
        request.environ.pop(_PENDING, None)
    _logger.info("refused a request: %s", reason)
    token_refused.send(current_app._get_current_object(), reason=reason)  # type: ignore[attr-defined]


def announce_if_answered(reason: str, error: BearerError) -> None:
    """Announce a refusal only if the error becomes the response: it may be caught, and the view called."""
    request.environ[_REFUSED], request.environ[_PENDING] = error, reason


def complete_response(response: Response) -> Response:
    """Add the headers of a refusal that the application turned into an error page of its own.

    A challenge of another scheme is kept: a response may have several (RFC 9110 section 11.6.1).
    """
    environ = request.environ
    error: BearerError | None = environ.get(_REFUSED)
    if error and response.status_code == error.code:
        if reason := environ.pop(_PENDING, None):
            announce(reason, error)
        for name, value in error.extra_headers.items():
            given = response.headers.getlist(name)
            if not given or (name == "WWW-Authenticate" and not any(map(_BEARER.search, given))):
                response.headers.add(name, value)
    return response


def current_token() -> VerifiedClaims | None:
    """Return the claims of the token that was accepted for the current request, or None."""
    if not has_request_context():
        return None
    return _find_accepted(_current_request(), current_app.extensions.get("flask_resource_server"))


def _find_accepted(current: Request, server: "ResourceServer | None") -> VerifiedClaims | None:
    accepted = current.environ.get(_ACCEPTED)
    if accepted is None:
        return None
    of_request, by, claims = accepted
    return claims if of_request() is current and by is server else None


def current_subject() -> str | None:
    """Return the subject of the accepted token, the ID of a user or of a client, or None without a token."""
    claims = current_token()
    return claims.subject if claims else None
