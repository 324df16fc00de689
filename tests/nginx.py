"""Run nginx with a configuration from `deploy/` in front of both services."""

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from tests.certificates import make_certificate
from tests.servers import ROOT, Pair, find_port, listen, serve_pair, url_of, wait_for

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
NAMES = {"auth": "auth.example.com", "course": "course.example.com"}
LOCALHOST = "localhost"  # of both services under path prefixes: course_app and browsers must resolve it
LOGIN = "username=student1&password=password123"


@dataclass
class Proxy:
    """An nginx in front of a pair of services, with the certificate that a client needs to trust it."""

    port: int
    pair: Pair
    trust: ssl.SSLContext
    log: Path

    @property
    def url(self) -> str:
        """The URL of the host that serves both services under path prefixes."""
        return f"https://{LOCALHOST}:{self.port}"

    def open(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=60)

    def ask(
        self, name: str, method: str, path: str, body: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request over TLS to a service or a host name, and return status, headers and body."""
        connection = http.client.HTTPConnection(NAMES.get(name, name), timeout=60)
        connection.sock = self.trust.wrap_socket(self.open(), server_hostname=NAMES.get(name, name))
        with contextlib.closing(connection):
            given = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
            connection.request(method, path, body, given | headers)
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()

    def send(self, request: bytes) -> bytes:
        """Send bytes over TLS to auth_app, and return the bytes of the response."""
        with self.open() as raw, self.trust.wrap_socket(raw, server_hostname=NAMES["auth"]) as connection:
            connection.sendall(request)
            return connection.recv(10_000)

    def log_in(self, name: str = "auth", prefix: str = "") -> str:
        status, _, body = self.ask(name, "POST", f"{prefix}/token", LOGIN)
        assert status == 200, body
        token: str = json.loads(body)["access_token"]
        return token


@contextlib.contextmanager
def serve_proxy(
    folder: Path, name: str = "nginx.conf", port: int | None = None, **settings: str
) -> Iterator[Proxy]:
    """Serve both services behind an nginx with a configuration of `deploy`, until the block ends."""
    make_certificate(folder, *map(x509.DNSName, [*NAMES.values(), LOCALHOST]))
    port = port or find_port()
    settings |= {"TRUSTED_PROXIES": "1"}
    with contextlib.ExitStack() as nginx, listen() as auth, listen() as course:
        # nginx comes first: course_app may fetch the status lists through it, and is not ready before.
        log = nginx.enter_context(run_nginx(folder, name, port, {"auth:8081": auth, "course:8082": course}))
        with serve_pair(folder, (auth, course), auth_settings=settings, course_settings=settings) as pair:
            try:
                trust = ssl.create_default_context(cafile=folder / "certificate.pem")
                yield Proxy(port, pair, trust, log)
            finally:
                nginx.close()  # before the services, which would wait for the connections that it keeps open


@contextlib.contextmanager
def serve_paths(folder: Path) -> Iterator[Proxy]:
    """Serve auth_app at /auth and course_app at /courses-api; status lists are fetched through nginx."""
    port = find_port()
    auth, course = (f"https://{LOCALHOST}:{port}{prefix}" for prefix in ("/auth", "/courses-api"))
    settings = {
        "ISSUER": auth,
        "RESOURCES": course,
        "RESOURCE": course,
        "STATUS_CLAIM": "required",
        "STATUS_LIST_TTL": "1",
        "SSL_CERT_FILE": str(folder / "certificate.pem"),
    }
    with serve_proxy(folder, "nginx-paths.conf", port, **settings) as proxy:
        yield proxy


@contextlib.contextmanager
def run_nginx(folder: Path, name: str, port: int, upstreams: dict[str, socket.socket]) -> Iterator[Path]:
    """Run nginx until the block ends, and yield its log."""
    assert NGINX
    configuration = (ROOT / "deploy" / name).read_text()
    for old, new in {
        **{upstream: url_of(listener).removeprefix("http://") for upstream, listener in upstreams.items()},
        "listen 443 ssl": f"listen 127.0.0.1:{port} ssl",
        "client_header_timeout 10s": "client_header_timeout 3s",
        "/etc/nginx/tls": str(folder),
        "/tmp/nginx": f"{folder}/nginx",  # noqa: S108
    }.items():
        assert old in configuration
        configuration = configuration.replace(old, new)
    (folder / "nginx.conf").write_text(configuration)
    log = folder / "nginx.log"
    user = " user root;" if os.geteuid() == 0 else ""  # other users cannot read a test's folder
    with log.open("wb") as output:
        process = subprocess.Popen(
            [NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-g", f"daemon off;{user}"],
            stdout=output,
            stderr=output,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        return False

    try:
        wait_for(answers)
        yield log
    finally:
        process.send_signal(signal.SIGQUIT)
        process.wait(timeout=60)
