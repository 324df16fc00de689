"""The table of targets of the peers that issue tokens: the requests that are sent to each."""

import json
import urllib.parse
import urllib.request
from functools import partial
from pathlib import Path

from bench.programs import PROGRAMS, Program
from bench.servers import post
from bench.targets import LOGIN, Prepare, Request, Setup, Target, post_form

CLIENT = {"client_id": "bench", "client_secret": "not-secret-" * 4}
# django-oauth-toolkit registers each client for one grant type only.
PASSWORD_CLIENT = CLIENT | {"client_id": "bench-password"}


def get_environment(argon2_passes: int, argon2_memory: int) -> dict[str, str]:
    """Return the environment that gives the peers their client and user, and the cost of a password hash."""
    return {
        "BENCH_CLIENT_ID": CLIENT["client_id"],
        "BENCH_CLIENT_SECRET": CLIENT["client_secret"],
        "BENCH_ARGON2_PASSES": str(argon2_passes),
        "BENCH_ARGON2_MEMORY": str(argon2_memory),
    }


def log_in_as(client: dict[str, str], program: Program) -> str:
    """Return the refresh token of a new session."""
    return str(post(f"{program.url}/token", grant_type="password", **LOGIN, **client)["refresh_token"])


def create_session(program: Program) -> str:
    """Return the refresh token of a session that the provider creates without a login."""
    return str(post(f"{program.url}/sessions")["refresh_token"])


def refresh_sessions_of(client: dict[str, str], target: Target, setup: Setup) -> Request:
    """Refresh 64 sessions in turn; each run uses up their tokens, so they are created anew."""
    create = create_session if target.program.name.startswith("oidc") else partial(log_in_as, client)
    tokens = setup.folder / f"refresh_tokens.{target.program.number}"
    tokens.write_text("\n".join(create(target.program) for _ in range(64)))
    form = urllib.parse.urlencode({"grant_type": "refresh_token", **client})
    environment = {"BENCH_REFRESH_TOKENS": str(tokens), "BENCH_FORM": form}
    return Request(script="refresh.lua", environment=environment)


def refresh_by_header(target: Target, _setup: Setup) -> Request:
    """Refresh with the same JWT again and again: the peer stores nothing."""
    token = post(f"{target.program.url}/login")["refresh_token"]
    return Request({"Authorization": f"Bearer {token}"}, "post.lua", {"BENCH_FORM": ""})


def check_token(target: Target, request: Request) -> None:
    """Check that a target responds to the request of a run with a token. Raises `RuntimeError`."""
    form = request.environment.get("BENCH_FORM", "grant_type=refresh_token")
    if request.script == "refresh.lua":
        tokens = Path(request.environment["BENCH_REFRESH_TOKENS"]).read_text().splitlines()
        form += f"&refresh_token={tokens[0]}"
    posted = urllib.request.Request(target.url, form.encode(), request.headers)  # noqa: S310
    with urllib.request.urlopen(posted) as response:  # noqa: S310
        answer = json.load(response)
    needed = {"access_token"} | ({"refresh_token"} if request.script == "refresh.lua" else set())
    if not needed <= answer.keys():
        raise RuntimeError(f"{target.name}: {sorted(answer)} instead of {sorted(needed)}")


def _target(name: str, program: str, prepare: Prepare, path: str = "/token", connections: int = 16) -> Target:
    return Target(name, PROGRAMS[program], path, prepare, connections)


AUTHLIB, TOOLKIT, KEY_OBJECTS = "Authlib server", "django-oauth-toolkit", "flask-jwt-extended, key objects"
OIDC, OIDC_IN_MEMORY = "oidc-provider, SQLite", "oidc-provider, in memory"
CLIENT_CREDENTIALS = post_form(grant_type="client_credentials", **CLIENT)
REFRESH = partial(refresh_sessions_of, CLIENT)

TOKEN_TARGETS = [
    _target(f"{AUTHLIB}, client_credentials", AUTHLIB, CLIENT_CREDENTIALS),
    _target(f"{TOOLKIT}, client_credentials", TOOLKIT, CLIENT_CREDENTIALS),
    _target(f"{OIDC}, client_credentials", OIDC, CLIENT_CREDENTIALS),
    _target(f"{KEY_OBJECTS}, create_access_token", KEY_OBJECTS, post_form()),
    _target(f"{AUTHLIB}, refresh_token", AUTHLIB, REFRESH),
    _target(f"{TOOLKIT}, refresh_token", TOOLKIT, partial(refresh_sessions_of, PASSWORD_CLIENT)),
    _target(f"{OIDC}, refresh_token", OIDC, REFRESH),
    _target(f"{OIDC_IN_MEMORY}, refresh_token", OIDC_IN_MEMORY, REFRESH),
    _target(f"{KEY_OBJECTS}, refresh", KEY_OBJECTS, refresh_by_header, "/refresh"),
    _target(
        f"{AUTHLIB}, password", AUTHLIB, post_form(grant_type="password", **LOGIN, **CLIENT), connections=2
    ),
    _target(
        f"{TOOLKIT}, password",
        TOOLKIT,
        post_form(grant_type="password", **LOGIN, **PASSWORD_CLIENT),
        connections=2,
    ),
]
