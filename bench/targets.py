"""The table of targets: the requests that are sent to each program."""

import json
import urllib.parse
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from bench.first_tokens import sign_tokens
from bench.programs import PROGRAMS, Program
from bench.servers import log_in, post, run_flask, sign_in

CALLBACK = "http://127.0.0.1:9999/callback"


@dataclass
class Setup:
    """The folder and the environment of a run, and the clients and tokens created for it."""

    folder: Path
    environment: dict[str, str]

    @cached_property
    def client(self) -> dict[str, str]:
        """Return the ID and the secret of a client, which is registered at the first call."""
        added = run_flask(self.folder, self.environment, "wsgi_auth", "clients add bench --json")
        client: dict[str, str] = json.loads(added)
        return client

    @cached_property
    def tokens(self) -> Path:
        """Return the path of a file with access tokens of many users, which are signed at the first call."""
        like = log_in(PROGRAMS["auth_app"].url)["access_token"]
        tokens = self.folder / "tokens"
        tokens.write_text("\n".join(sign_tokens(like, self.folder / "keys/private_key.pem")))
        return tokens

    @cached_property
    def web_client(self) -> str:
        """Return the ID of a public client for the authorization code flow."""
        command = f"clients add bench-web --public --redirect-uri {CALLBACK}"
        run_flask(self.folder, self.environment, "wsgi_auth", command)
        return "bench-web"


@dataclass(frozen=True)
class Request:
    """The requests that wrk sends: fixed headers, or a script of ours with its environment."""

    headers: dict[str, str] = field(default_factory=dict)
    script: str | None = None
    environment: dict[str, str] = field(default_factory=dict)


Prepare = Callable[["Target", Setup], Request]


@dataclass(frozen=True)
class Target:
    """A measured path of a program. `prepare` creates the request for each run."""

    name: str
    program: Program
    path: str
    prepare: Prepare
    connections: int = 16

    @property
    def url(self) -> str:
        """Return the URL that is measured."""
        return self.program.url + self.path


def read_page(_target: Target, _setup: Setup) -> Request:
    """Read the page of courses with an access token of ours."""
    token = log_in(PROGRAMS["auth_app"].url)["access_token"]
    return Request({"Authorization": f"Bearer {token}"})


def read_page_as_new_users(target: Target, setup: Setup) -> Request:
    """Read the page of courses, each time with a token that the service has not seen before."""
    with setup.tokens.open() as tokens:
        headers = {"Authorization": f"Bearer {tokens.readline().strip()}"}
    position = setup.folder / f"position {target.name}"
    environment = {"BENCH_TOKENS": str(setup.tokens), "BENCH_POSITION": str(position)}
    return Request(headers, "tokens.lua", environment)


def read_open_page(_target: Target, _setup: Setup) -> Request:
    """Read the page of courses without a token: the only target that permits that."""
    return Request()


def read_with_own_token(target: Target, _setup: Setup) -> Request:
    """Read the page of courses with a token that the program signs itself."""
    return Request({"Authorization": f"Bearer {post(target.program.url + '/token')['access_token']}"})


def post_form(**form: str) -> Prepare:
    """Return a request that posts this form."""
    return lambda _target, _setup: Request(
        script="post.lua", environment={"BENCH_FORM": urllib.parse.urlencode(form)}
    )


def request_client_credentials(_target: Target, setup: Setup) -> Request:
    """Request a token as a client of ours."""
    form = urllib.parse.urlencode({"grant_type": "client_credentials", **setup.client})
    return Request(script="post.lua", environment={"BENCH_FORM": form})


def refresh_sessions(target: Target, setup: Setup) -> Request:
    """Refresh 64 sessions in turn; each run uses up their tokens, so they are created anew."""
    tokens = setup.folder / "refresh_tokens"
    tokens.write_text("\n".join(log_in(target.program.url)["refresh_token"] for _ in range(64)))
    return Request(script="refresh.lua", environment={"BENCH_REFRESH_TOKENS": str(tokens)})


def open_sign_in_page(_target: Target, _setup: Setup) -> Request:
    """Open the sign-in page."""
    return Request()


VERIFIER = "v" * 43


def _get_authorize_path(setup: Setup) -> str:
    challenge = urlsafe_b64encode(sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode()
    query = {"client_id": setup.web_client, "redirect_uri": CALLBACK, "response_type": "code"}
    query |= {"scope": "openid", "code_challenge_method": "S256", "code_challenge": challenge}
    return f"/authorize?{urllib.parse.urlencode(query)}"


def sign_in_to_client(target: Target, setup: Setup) -> Request:
    """Request a code and exchange it, alternately, with the cookies of a signed-in browser."""
    form = {"grant_type": "authorization_code", "code_verifier": VERIFIER}
    form |= {"client_id": setup.web_client, "redirect_uri": CALLBACK}
    environment = {
        "BENCH_AUTHORIZE": _get_authorize_path(setup),
        "BENCH_COOKIE": sign_in(target.program.url),
        "BENCH_FORM": urllib.parse.urlencode(form),
    }
    return Request(script="code.lua", environment=environment)


def request_codes(target: Target, setup: Setup) -> Request:
    """Request codes with the cookies of a signed-in browser, without exchanging them."""
    environment = {
        "BENCH_AUTHORIZE": _get_authorize_path(setup),
        "BENCH_COOKIE": sign_in(target.program.url),
        "BENCH_FORM": "",
        "BENCH_CODES_ALONE": "1",
    }
    return Request(script="code.lua", environment=environment)


LOGIN = {"username": "student1", "password": "password123"}


def _target(name: str, program: str, path: str, prepare: Prepare, connections: int = 16) -> Target:
    return Target(name, PROGRAMS[program], path, prepare, connections)


TARGETS = [
    _target("open Flask view", "open Flask", "/memory", read_open_page),
    _target("ours, @require_scope", "kit", "/memory", read_page),
    _target("ours, @jwt_required and @require_scope", "kit", "/memory-jwt-required", read_page),
    _target("FastAPI, async def", "FastAPI", "/memory-async", read_page),
    _target("FastAPI, def", "FastAPI", "/memory", read_page),
    _target("ours, @require_scope, new users", "kit", "/memory", read_page_as_new_users),
    _target("FastAPI, async def, new users", "FastAPI", "/memory-async", read_page_as_new_users),
    _target("FastAPI, def, new users", "FastAPI", "/memory", read_page_as_new_users),
    _target("flask-jwt-extended", "flask-jwt-extended", "/memory", read_with_own_token),
    _target("Authlib", "Authlib", "/memory", read_page),
    _target("Django, Simple JWT", "Django", "/memory", read_page),
    _target("Express", "Express", "/memory", read_page),
    _target("ours, courses from SQLite", "course_app", "/courses", read_page),
    _target("FastAPI, courses from SQLite", "FastAPI, SQLAlchemy", "/courses", read_page),
    _target("FastAPI, SQLite, bare connection", "FastAPI, SQLAlchemy", "/courses-bare", read_page),
    _target("ours, courses from PostgreSQL", "course_app, PostgreSQL", "/courses", read_page),
    _target("FastAPI, courses from PostgreSQL", "FastAPI, SQLAlchemy, PostgreSQL", "/courses", read_page),
    _target(
        "FastAPI, PostgreSQL, bare connection", "FastAPI, SQLAlchemy, PostgreSQL", "/courses-bare", read_page
    ),
    _target("ours, refresh_token", "auth_app", "/token", refresh_sessions),
    _target("ours, client_credentials", "auth_app", "/token", request_client_credentials),
    _target("ours, password", "auth_app", "/token", post_form(**LOGIN), 2),
    _target("ours, password, two cores", "auth_app, two cores", "/token", post_form(**LOGIN), 4),
    _target("ours, sign-in page", "auth_app", "/login", open_sign_in_page),
    _target("ours, code", "auth_app", "/", request_codes),
    _target("ours, code or its exchange", "auth_app", "/", sign_in_to_client),
    _target("flask-jwt-extended, create_access_token", "flask-jwt-extended", "/token", post_form()),
]
