"""Ask for a scope: what the holder of an accepted token may do."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from shared.errors import InsufficientScope
from shared.verification import verified_claims

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
                raise InsufficientScope(scope)
            return view(*args, **kwargs)

        return check_scope

    return decorate
