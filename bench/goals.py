"""The performance goals, one row of a table each: the quotient of two measurements, and its target."""

from typing import Literal, NamedTuple

from bench.latency import run_alone

ARGON2, LOGIN = "argon2 alone", "ours, password"


class Goal(NamedTuple):
    """A quotient of two series of the same rounds: the names of targets, or of `latency` runs."""

    name: str
    numerator: str
    denominator: str
    direction: Literal["at least", "at most"]
    bound: float


OPEN, SCOPE = "open Flask view", "ours, @require_scope"
JWT_REQUIRED = "ours, @jwt_required and @require_scope"
SIGNER = "flask-jwt-extended, create_access_token"

GOALS = [
    Goal("`@require_scope` / open Flask view", SCOPE, OPEN, "at least", 0.85),
    Goal("`@jwt_required()` and `@require_scope` / open Flask view", JWT_REQUIRED, OPEN, "at least", 0.75),
    Goal("`@require_scope` / FastAPI `async def`", SCOPE, "FastAPI, async def", "at least", 1.0),
    Goal(
        "`/courses` from SQLite / FastAPI + SQLAlchemy",
        "ours, courses from SQLite",
        "FastAPI, courses from SQLite",
        "at least",
        2.5,
    ),
    Goal(
        "`/courses` from SQLite / the same on a bare connection",
        "ours, courses from SQLite",
        "FastAPI, SQLite, bare connection",
        "at least",
        1.0,
    ),
    Goal(
        "`/courses` from PostgreSQL / FastAPI + SQLAlchemy",
        "ours, courses from PostgreSQL",
        "FastAPI, courses from PostgreSQL",
        "at least",
        2.5,
    ),
    Goal(
        "`/courses` from PostgreSQL / the same on a bare connection",
        "ours, courses from PostgreSQL",
        "FastAPI, PostgreSQL, bare connection",
        "at least",
        1.0,
    ),
    Goal("client_credentials / PEM-string signer", "ours, client_credentials", SIGNER, "at least", 25),
    *(
        Goal(f"refresh / {peer}'s", "ours, refresh_token", f"{peer}, refresh_token", "at least", 1.5)
        for peer in ("Authlib server", "django-oauth-toolkit", "oidc-provider, SQLite")
    ),
    Goal(
        "first tokens of 10,000 users: `@require_scope` / FastAPI `async def`",
        "ours, @require_scope, new users",
        "FastAPI, async def, new users",
        "at least",
        1.0,
    ),
    Goal(
        "p99 at 80 % of the best rate, from memory: ours / FastAPI's `async def`",
        run_alone(SCOPE).p99,
        run_alone("FastAPI, async def").p99,
        "at most",
        1.0,
    ),
    Goal(
        "p99 at 80 % of the best rate, `/courses` from SQLite: ours / FastAPI's",
        run_alone("ours, courses from SQLite").p99,
        run_alone("FastAPI, courses from SQLite").p99,
        "at most",
        1.0,
    ),
    Goal("login, two cores / one", "ours, password, two cores", LOGIN, "at least", 1.7),
    # Both are rates; the quotient of the times is the inverse.
    Goal("time of a login / of argon2 alone", ARGON2, LOGIN, "at most", 1.15),
]
