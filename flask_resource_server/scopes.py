"""Ask for a scope: what the holder of an accepted token may do."""

from collections.abc import Callable, Iterator
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any, Literal, ParamSpec, TypeVar

from flask import current_app, request

from flask_resource_server.authentication import authenticate, current_server, current_token, refuse
from flask_resource_server.errors import InsufficientScope
from flask_resource_server.tokens.claims import VerifiedClaims

P = ParamSpec("P")
R = TypeVar("R")

_MARK = "required_scopes"


def require_scope(
    *scopes: str, mode: Literal["all", "any"] = "all"
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a request through whose access token has all of `scopes`, or any; without scopes, any good token.

    The token is verified unless `@jwt_required()`, or something else, has done so already. OPTIONS is let
    through as `jwt_required` does. Works on views, on methods of a `MethodView`, on `async def`, and in its
    `decorators`. The view's errors are those of `authenticate`, and `InsufficientScope`.
    """
    if mode not in {"all", "any"} or not all(isinstance(scope, str) for scope in scopes):
        raise TypeError('give scopes as strings, and mode as "all" or "any": @require_scope("reports:read")')
    wanted = frozenset(scopes)

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        is_async = iscoroutinefunction(view)

        @wraps(view)
        def check_scope(*args: P.args, **kwargs: P.kwargs) -> R:
            if request.method != "OPTIONS":
                granted = _scopes_of(authenticate())
                if not (wanted <= granted if mode == "all" else not wanted or wanted & granted):
                    refuse("scope", InsufficientScope(*scopes))
            call: Callable[..., R] = current_app.ensure_sync(view) if is_async else view
            return call(*args, **kwargs)

        setattr(check_scope, _MARK, wanted | getattr(view, _MARK, frozenset()))
        return check_scope

    setattr(decorate, _MARK, wanted)  # for classes of views that list it among their decorators
    return decorate


def current_scopes() -> frozenset[str]:
    """Return the scopes that count for the token of the current request; none without a token."""
    claims = current_token()
    return _scopes_of(claims) if claims else frozenset()


def _scopes_of(claims: VerifiedClaims) -> frozenset[str]:
    return current_server().current_scopes(claims)


def find_scopes(view: Callable[..., Any]) -> Iterator[str]:
    """Yield the scopes that a view requires: a function, or a class of views with its methods."""
    yield from getattr(view, _MARK, ())
    view_class = getattr(view, "view_class", None)
    if view_class is None:
        return
    for name in getattr(view_class, "methods", None) or ():
        yield from getattr(getattr(view_class, name.lower(), None), _MARK, ())
    for decorate in (*getattr(view_class, "decorators", ()), *_method_decorators(view_class)):
        yield from getattr(decorate, _MARK, ())


def _method_decorators(view_class: type) -> Iterator[Any]:
    """Yield the decorators of a Flask-RESTful or Flask-RESTX resource: a list, or lists by method."""
    decorators = getattr(view_class, "method_decorators", ())
    if isinstance(decorators, dict):
        decorators = [decorate for listed in decorators.values() for decorate in listed]
    yield from decorators
