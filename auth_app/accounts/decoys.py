"""Choose the dummy hashes that make every failed login take the same time, whether or not the user exists.

Password hashes may differ in cost, because ARGON2_* settings changed or users were imported. The duration of
a failed login would then reveal which kind of hash a user has, and whether the user exists at all. So each
failed login computes one hash of every kind in use.
"""

import math
import re

from argon2 import extract_parameters
from sqlalchemy import func, select

from auth_app.database import db
from auth_app.models import User

# The most hashes that a failed login computes. Only imports lead to more kinds; the cheapest are left out.
MAXIMUM_KINDS = 8

_ARGON2 = re.compile(r"\$argon2(?:id|i|d)(?:\$v=\d+)?\$m=\d+,t=\d+,p=\d+")
_WERKZEUG = re.compile(r"(?:scrypt|pbkdf2)(?::[\w-]+)*")

# The distinct values of an indexed column: one index lookup for each value, however many users there are.
_LEAST = select(func.min(User.password_parameters).label("parameters")).cte("kinds", recursive=True)
_NEXT = (
    select(func.min(User.password_parameters))
    .where(User.password_parameters > _LEAST.c.parameters)
    .correlate(_LEAST)
    .scalar_subquery()
)
_KINDS = _LEAST.union_all(select(_NEXT).where(_LEAST.c.parameters.is_not(None)))
IN_USE = select(_KINDS.c.parameters).where(_KINDS.c.parameters.is_not(None)).limit(50)


def find_decoys(current: str) -> dict[str, str]:
    """Return a hash that no password matches for each set of parameters in use, by the parameters.

    The `current` parameters come first, then the others, the most expensive first.
    """
    others = {parameters for parameters in db.session.scalars(IN_USE) if _is_known(parameters)} - {current}
    kinds = [current, *sorted(others, key=_estimate_cost, reverse=True)][:MAXIMUM_KINDS]
    return {parameters: make_decoy(parameters) for parameters in kinds}


def make_decoy(parameters: str) -> str:
    """Return a well-formed hash with these parameters, without computing one."""
    # Salt and digest of argon2 are base64 of 16 and 32 bytes.
    return f"{parameters}${'A' * 22}${'A' * 43 if parameters.startswith('$') else '0' * 128}"


def _is_known(parameters: str) -> bool:
    return bool(_ARGON2.fullmatch(parameters) or _WERKZEUG.fullmatch(parameters))


def _estimate_cost(parameters: str) -> int:
    """Return a number that grows with the time that a hash takes, comparable across algorithms roughly."""
    if parameters.startswith("$"):
        costs = extract_parameters(make_decoy(parameters))
        return costs.memory_cost * costs.time_cost
    return math.prod(int(part) for part in parameters.split(":") if part.isdigit())
