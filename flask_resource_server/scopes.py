"""The decorator `@require_scope`, and the scopes of the current request."""

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
    """Require an access token with all of `scopes`, or with any of them; without scopes, any good token.

    Verifies the token unless `@jwt_required()` or other code has done so. Like `@jwt_required()`, it lets
    OPTIONS requests through. Works on views, also `async def`, on methods of a `MethodView`, and in its
    `decorators`. The view raises the errors of `authenticate`, and `InsufficientScope`.
    """
    if mode not in {"all", "any"} or not all(isinstance(scope, str) for scope in scopes):
        raise TypeError('pass scopes as strings, and mode as "all" or "any": @require_scope("reports:read")')
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

    setattr(decorate, _MARK, wanted)  # for view classes that list it in their `decorators`
    return decorate


def current_scopes() -> frozenset[str]:
    """Return the scopes of the current request's token; an empty set without a token."""
    claims = current_token()
    return _scopes_of(claims) if claims else frozenset()


def _scopes_of(claims: VerifiedClaims) -> frozenset[str]:
    return current_server().current_scopes(claims)


def find_scopes(view: Callable[..., Any]) -> Iterator[str]:
    """Yield the scopes that a view requires; it is a function, or made from a view class."""
    yield from getattr(view, _MARK, ())
    view_class = getattr(view, "view_class", None)
    if view_class is None:
        return
    for name in getattr(view_class, "methods", None) or ():
        yield from getattr(getattr(view_class, name.lower(), None), _MARK, ())
    for decorate in (*getattr(view_class, "decorators", ()), *_method_decorators(view_class)):
        yield from getattr(decorate, _MARK, ())


def _method_decorators(view_class: type) -> Iterator[Any]:
    """Yield the decorators of a Flask-RESTful or Flask-RESTX resource: it has a list, or one by method."""
    decorators = getattr(view_class, "method_decorators", ())
    if isinstance(decorators, dict):
        decorators = [decorate for listed in decorators.values() for decorate in listed]
    yield from decorators
