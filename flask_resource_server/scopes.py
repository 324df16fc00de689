"""Ask for a scope: what the holder of an accepted token may do."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from flask_resource_server.verification import verified_claims
from shared.errors import InsufficientScope
from shared.metrics import count_refusal

P = ParamSpec("P")
R = TypeVar("R")


def require_scope(scope: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let a request through whose token has `scope`; stands under `@jwt_required()`.

    Raises `InsufficientScope` (RFC 6750 section 3.1).
    """

    def decorate(view: Callable[P, R]) -> Callable[P, R]:
        @wraps(view)
        def check_scope(*args: P.args, **kwargs: P.kwargs) -> R:
            if scope not in verified_claims().scopes:
                count_refusal("scope")
                raise InsufficientScope(scope)
            return view(*args, **kwargs)

        check_scope.__dict__["required_scope"] = scope
        return check_scope

    return decorate


def required_scope(view: Callable[..., object]) -> str | None:
    """Return the scope that a view requires, if it does."""
    return view.__dict__.get("required_scope")


def current_subject() -> str:
    """Return whose token the request carries: a user's ID, or a client's; stands under `@jwt_required()`."""
    return verified_claims().subject
