"""A client's server, which receives logout notices."""

import contextlib
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

from tests.issuers import reserve_port


@dataclass
class Receiver:
    """An HTTP server that stores what is posted to it, by path, and responds as a test tells it to."""

    url: str = ""
    status: int = 200
    statuses: dict[str, int] = field(default_factory=dict)  # by path, if not `status`
    headers: dict[str, str] = field(default_factory=dict)
    drip: bool = False  # sends the status line one byte at a time, forever
    hanging: set[str] = field(default_factory=set)  # paths without a response
    released: threading.Event = field(default_factory=threading.Event)
    forms: list[tuple[str, dict[str, str]]] = field(default_factory=list)  # path and form of each request
    received: list[dict[str, str]] = field(default_factory=list)  # the headers of each

    def tokens(self, path: str = "/logout") -> list[str]:
        return [form["logout_token"] for where, form in self.forms if where == path]


@contextmanager
def serve_receiver(certificate: Path | None = None) -> Iterator[Receiver]:
    """Serve until the block ends; with TLS if a folder with a certificate is given."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            receiver.received.append(dict(self.headers))
            receiver.forms.append((self.path, dict(parse_qsl(body, strict_parsing=True))))
            if self.path in receiver.hanging:
                receiver.released.wait(60)
            with contextlib.suppress(OSError):  # the client has disconnected
                self._drip() if receiver.drip else self._answer()

        def _answer(self) -> None:
            self.send_response(receiver.statuses.get(self.path, receiver.status))
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.end_headers()

        def _drip(self) -> None:
            while not receiver.released.is_set():
                self.wfile.write(b"H")
                time.sleep(0.1)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """Ignore aborted handshakes."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        receiver.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}"
        try:
            yield receiver
        finally:
            receiver.released.set()
            server.shutdown()
        thread.join()
    reserve_port(server.server_port)
