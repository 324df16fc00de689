"""A scripted HTTP proxy: it responds as a test tells it to."""

import contextlib
import select
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """An HTTP proxy that counts requests, and forwards them or responds with `status`."""

    status: int = 200
    answers: threading.Event = field(default_factory=threading.Event)  # while it is clear, requests hang
    requests: list[str] = field(default_factory=list)
    authorizations: list[str | None] = field(default_factory=list)
    tunnelled: bytes = b""  # from the client
    address: str = ""


@contextmanager
def serve_proxy() -> Iterator[Proxy]:
    """Serve a proxy until the block ends."""
    proxy = Proxy()
    proxy.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def note(self) -> bool:
            """Record the request, and return whether to forward it."""
            proxy.requests.append(f"{self.command} {self.path}")
            proxy.authorizations.append(self.headers["Proxy-Authorization"])
            proxy.answers.wait(60)
            if proxy.status != 200:
                self.send_response(proxy.status)
                self.end_headers()
            return proxy.status == 200

        def do_GET(self) -> None:
            if not self.note():
                return
            url = urlsplit(self.path)
            assert url.hostname
            with contextlib.closing(HTTPConnection(url.hostname, url.port, timeout=10)) as connection:
                connection.request("GET", url.path, headers={"Host": self.headers["Host"]})
                with connection.getresponse() as response:
                    self.send_response(response.status)
                    self.end_headers()
                    self.wfile.write(response.read())

        def do_CONNECT(self) -> None:
            if not self.note():
                return
            host, _, port = self.path.rpartition(":")
            with socket.create_connection((host, int(port)), 10) as server:
                self.send_response(200)
                self.end_headers()
                relay(proxy, self.connection, server)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        proxy.address = f"127.0.0.1:{server.server_port}"
        try:
            yield proxy
        finally:
            proxy.answers.set()
            server.shutdown()
        thread.join()


def relay(proxy: Proxy, client: socket.socket, server: socket.socket) -> None:
    """Forward bytes in both directions until one side closes."""
    while True:
        ready, _, _ = select.select([client, server], [], [], 20)
        for source in ready:
            try:
                received = source.recv(65536)
                (server if source is client else client).sendall(received)
            except OSError:
                return
            if source is client:
                proxy.tunnelled += received
            if not received:
                return
