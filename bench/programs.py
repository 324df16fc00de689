"""The table of programs to measure. To add a peer, add an entry here and a file in peers/."""

import sys
from dataclasses import dataclass

from bench.servers import FIRST_PORT, NODE, PEERS, ROOT

OURS = (
    "{python} -m gunicorn --config {root}/gunicorn.conf.py --workers {workers} --log-level warning "
    "--bind 127.0.0.1:{port} "
)
GUNICORN = (
    "{peers} -m gunicorn --worker-class gthread --workers {workers} --threads 2 --preload "
    "--no-control-socket --log-level warning --bind 127.0.0.1:{port} "
)
UVICORN = "{peers} -m uvicorn --no-access-log --log-level warning --port {port} "


@dataclass(frozen=True)
class Program:
    """A server, the command that starts it, and how it differs from ours."""

    name: str
    number: int  # its port is FIRST_PORT plus this
    command: str  # with the fields of `_fill`
    packages: str  # the packages whose versions are shown
    differs: str  # what it does more or less than ours
    workers: int = 1
    database: str = "sqlite"  # what COURSE_DATABASE_URL names: sqlite or postgresql

    @property
    def port(self) -> int:
        """Return the address that it listens on."""
        return FIRST_PORT + self.number

    @property
    def url(self) -> str:
        """Return its URL."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_ours(self) -> bool:
        """Return whether it is part of this project, and reads its keys from files."""
        return self.differs.startswith("ours")

    @property
    def cores(self) -> str:
        """Return the cores it may use: as many as it has workers, starting with the first."""
        return ",".join(str(core) for core in range(self.workers))

    def get_command(self) -> list[str]:
        """Return the command that starts it."""
        return self._fill(python=sys.executable, peers=str(PEERS), node=str(NODE), root=str(ROOT)).split()

    def show_command(self) -> str:
        """Return the command as one would type it in a checkout."""
        shown = {"python": ".venv/bin/python", "peers": ".venv-bench/bin/python", "node": "bench/peers/node"}
        return self._fill(**shown, root=".").replace("./", "")

    def _fill(self, **places: str) -> str:
        return self.command.format(port=self.port, workers=self.workers, **places)


_KIT = "flask flask-jwt-extended gunicorn"
_FASTAPI = "fastapi uvicorn uvloop httptools pyjwt"
_NO_MORE = "no request ID, security headers or metrics"
_FASTAPI_CHECKS = (
    "checks signature, `exp` and `aud`, but not `iss`, `typ`, the scope or revocation; " + _NO_MORE
)

PROGRAMS = {
    "auth_app": Program(
        "auth_app", 0, OURS + "wsgi_auth:app", f"{_KIT} sqlalchemy", "ours; sessions and clients in SQLite"
    ),
    "auth_app, two cores": Program(
        "auth_app, two cores",
        6,
        OURS + "wsgi_auth:app",
        f"{_KIT} sqlalchemy",
        "ours; the same with two workers",
        workers=2,
    ),
    "course_app": Program(
        "course_app", 1, OURS + "wsgi_course:app", f"{_KIT} sqlalchemy", "ours; courses in SQLite"
    ),
    "course_app, PostgreSQL": Program(
        "course_app, PostgreSQL",
        7,
        OURS + "wsgi_course:app",
        f"{_KIT} sqlalchemy psycopg",
        "ours; courses in PostgreSQL, which has the core of the load generator; asks before each request "
        "whether the connection still works (`pool_pre_ping`)",
        database="postgresql",
    ),
    "kit": Program(
        "kit", 2, OURS + "bench.memory:app", _KIT, f"ours; the view answers from memory; {_NO_MORE}"
    ),
    "open Flask": Program(
        "open Flask", 3, OURS + "bench.peers.open_flask:app", "flask gunicorn", "no authentication at all"
    ),
    "FastAPI": Program(
        "FastAPI",
        4,
        UVICORN + "bench.peers.fastapi_peer:app",
        _FASTAPI,
        f"no cache; {_FASTAPI_CHECKS}; the key is loaded once, which saves a tenth of the time of a "
        "PEM string, and pydantic serializes (FastAPI has deprecated `ORJSONResponse`)",
    ),
    "FastAPI, SQLAlchemy": Program(
        "FastAPI, SQLAlchemy",
        8,
        UVICORN + "bench.peers.fastapi_courses:app",
        f"{_FASTAPI} sqlalchemy pydantic",
        f"no cache, no `ETag`; {_FASTAPI_CHECKS}; the same SQLite file, read by a session as documented, or "
        "on a bare connection",
    ),
    "FastAPI, SQLAlchemy, PostgreSQL": Program(
        "FastAPI, SQLAlchemy, PostgreSQL",
        9,
        UVICORN + "bench.peers.fastapi_courses:app",
        f"{_FASTAPI} sqlalchemy psycopg pydantic",
        "the same; the same database in PostgreSQL; does not ask first whether the connection still works",
        database="postgresql",
    ),
    "flask-jwt-extended": Program(
        "flask-jwt-extended",
        5,
        OURS + "bench.peers.documented_flask:app",
        _KIT,
        f"PEM strings, as documented; checks signature, `exp` and `type`; {_NO_MORE}",
    ),
    "Authlib": Program(
        "Authlib",
        10,
        GUNICORN + "bench.peers.authlib_peer:app",
        "flask authlib joserfc gunicorn",
        f"no cache, no revocation; checks all claims of RFC 9068 and the scope; {_NO_MORE}",
    ),
    "Django": Program(
        "Django",
        11,
        GUNICORN + "bench.peers.django_peer:app",
        "django djangorestframework djangorestframework-simplejwt pyjwt gunicorn",
        "no cache, no revocation, no middleware; checks signature, `exp`, `iss` and `aud`, but not `typ` or "
        f"the scope; {_NO_MORE}",
    ),
    "Express": Program(
        "Express",
        12,
        "env NODE_ENV=production node {node}/express_peer.js {port}",
        "node express express-oauth2-jwt-bearer",
        f"no cache, no revocation; checks signature, `exp`, `iss`, `aud` and the scope; an `ETag`; "
        f"{_NO_MORE}",
    ),
    "flask-jwt-extended, key objects": Program(
        "flask-jwt-extended, key objects",
        20,
        OURS + "bench.peers.extended_tokens:app",
        _KIT,
        "nothing is stored: no login, client or rotation; a refresh token can be used again and again, and "
        "no session can be ended",
    ),
    "Authlib server": Program(
        "Authlib server",
        21,
        GUNICORN + "bench.peers.authlib_tokens:app",
        "authlib flask joserfc sqlalchemy argon2-cffi gunicorn",
        "the same JWTs from the same grants, all kept in SQLite; client secrets and refresh tokens in plain "
        "text; reuse of a refresh token is refused, but ends no session; no throttle, audit log or metrics",
    ),
    "django-oauth-toolkit": Program(
        "django-oauth-toolkit",
        22,
        GUNICORN + "bench.peers.django_tokens:app",
        "django-oauth-toolkit django oauthlib argon2-cffi gunicorn",
        "random strings for access tokens: no signature is made, and resource servers have to ask; tokens "
        "and client secrets in plain text in SQLite; no throttle, audit log or metrics",
    ),
    "oidc-provider, SQLite": Program(
        "oidc-provider, SQLite",
        23,
        "node {node}/oidc_tokens.mjs {port} sqlite",
        "node oidc-provider better-sqlite3",
        "clients in memory, JWTs not kept, refresh tokens in SQLite by an adapter of ours, in two commits "
        "for each refresh; no users of its own, so no password grant; Node 22 is what it supports",
    ),
    "oidc-provider, in memory": Program(
        "oidc-provider, in memory",
        24,
        "node {node}/oidc_tokens.mjs {port} memory",
        "node oidc-provider",
        "its own adapter, for development only: the last 1,000 objects, lost at a restart",
    ),
}
