"""The programs that are measured, in one table: a new peer is an entry here and a file in peers/."""

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
    """A server, how it is started, and what a reader must know to compare it with ours."""

    name: str
    number: int  # of its port, from FIRST_PORT on
    command: str  # with the fields of `_fill`
    packages: str  # those whose versions are shown
    differs: str  # what it does more or less than ours does
    workers: int = 1
    database: str = "sqlite"  # what COURSE_DATABASE_URL names: sqlite or postgresql

    @property
    def port(self) -> int:
        """Return where it listens."""
        return FIRST_PORT + self.number

    @property
    def url(self) -> str:
        """Return where it is asked."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def is_ours(self) -> bool:
        """Return whether it is part of this project, and reads its keys from files."""
        return self.differs.startswith("ours")

    @property
    def cores(self) -> str:
        """Return the cores it may use: as many as it has workers, from the first one on."""
        return ",".join(str(core) for core in range(self.workers))

    def get_command(self) -> list[str]:
        """Return the command that starts it."""
        return self._fill(python=sys.executable, peers=str(PEERS), node=str(NODE), root=str(ROOT)).split()

    def show_command(self) -> str:
        """Return the command as a reader would type it in a checkout."""
        shown = {"python": ".venv/bin/python", "peers": ".venv-bench/bin/python", "node": "bench/peers/node"}
        return self._fill(**shown, root=".").replace("./", "")

    def _fill(self, **places: str) -> str:
        return self.command.format(port=self.port, workers=self.workers, **places)


_KIT = "flask flask-jwt-extended gunicorn"

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
        "ours; courses in PostgreSQL, which has the core of the load generator",
        database="postgresql",
    ),
    "kit": Program("kit", 2, OURS + "bench.memory:app", _KIT, "ours; the view answers from memory"),
    "open Flask": Program(
        "open Flask", 3, OURS + "bench.peers.open_flask:app", "flask gunicorn", "no authentication at all"
    ),
    "FastAPI": Program(
        "FastAPI",
        4,
        UVICORN + "bench.peers.fastapi_peer:app",
        "fastapi uvicorn uvloop httptools pyjwt",
        "no cache; checks signature, `exp` and `aud`, but not `iss`, `typ`, the scope or revocation; no "
        "request ID, security headers or metrics",
    ),
    "flask-jwt-extended": Program(
        "flask-jwt-extended",
        5,
        OURS + "bench.peers.documented_flask:app",
        _KIT,
        "PEM strings, as documented; checks signature, `exp` and `type` alone; no request ID, security "
        "headers or metrics",
    ),
}
