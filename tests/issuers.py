"""A scripted issuer: it responds as a test tells it to."""

import contextlib
import hashlib
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from flask_resource_server.tokens.keys import public_jwk, thumbprint
from tests.forger import ISSUER

_RESERVED: list[socket.socket] = []


@dataclass
class Issuer:
    """An HTTP server that returns the documents that a test sets, and counts requests."""

    status: int = 200
    missing: int | None = None  # the status of addresses without a page, if not `status`
    body: bytes = b""
    pages: dict[str, bytes] = field(default_factory=dict)  # by path, if not `body`
    headers: dict[str, str] = field(default_factory=dict)
    pace: float = 0  # seconds from one byte to the next
    answers: threading.Event = field(default_factory=threading.Event)  # while it is clear, requests hang
    requests: list[str] = field(default_factory=list)
    received: list[Message] = field(default_factory=list)  # the headers of each
    conditions: list[str | None] = field(default_factory=list)  # If-None-Match of each
    url: str = ""

    def publish(self, *jwks: Any) -> None:
        self.status, self.body = 200, json.dumps({"keys": jwks}).encode()


@contextmanager
def serve_issuer(certificate: Path | None = None) -> Iterator[Issuer]:
    """Serve an issuer until the block ends; with TLS if a folder with a certificate is given."""
    issuer = Issuer()
    issuer.answers.set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.requests.append(self.path)
            issuer.received.append(self.headers)
            issuer.conditions.append(self.headers["If-None-Match"])
            issuer.answers.wait(60)
            is_missing = issuer.missing and self.path not in issuer.pages
            self.send_response((is_missing and issuer.missing) or issuer.status)
            for name, value in issuer.headers.items():
                self.send_header(name, value)
            with contextlib.suppress(OSError):  # the client has disconnected
                self.end_headers()
            body = issuer.pages.get(self.path, issuer.body)
            with contextlib.suppress(OSError):
                for byte in body if issuer.pace else ():
                    time.sleep(issuer.pace)
                    self.wfile.write(bytes([byte]))
                if not issuer.pace:
                    self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        if certificate:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate / "certificate.pem", certificate / "key.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        issuer.url = f"{'https' if certificate else 'http'}://127.0.0.1:{server.server_port}/jwks.json"
        try:
            yield issuer
        finally:
            issuer.answers.set()
            server.shutdown()
        thread.join()
    reserve_port(server.server_port)


def reserve_port(port: int = 0) -> int:
    """Reserve an unused port, and return it: threads of earlier tests may still fetch from it."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.bind(("127.0.0.1", port))  # it does not listen: connections are refused
    _RESERVED.append(reserved)
    reserved_port: int = reserved.getsockname()[1]
    return reserved_port


def copy_path(folder: Path, document: str, issuer: str = ISSUER, setting: str | None = None) -> Path:
    """Return the path of a service's copy of one of the issuer's documents.

    `setting` is JWKS_URL or STATUS_LISTS_URL, where the document is fetched by that.
    """
    origin = f"{issuer}\n{setting}" if setting else issuer
    digest = hashlib.sha256(origin.encode()).hexdigest()[:12]
    return folder / f"{urlsplit(issuer).hostname}-{digest}.{document}.json"


def write_key_copy(folder: Path, jwks_url: str, *keys: RSAPublicKey) -> None:
    """Write the copy that a service would have after fetching these keys."""
    jwks = [{"kid": thumbprint(key), **public_jwk(key)} for key in keys]
    copy_path(folder, "keys", setting=jwks_url).write_text(json.dumps({"keys": jwks}))
