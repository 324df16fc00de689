"""Start applications with third-party clients, each when a test first needs it."""

import json
import sys
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from flask_resource_server.tokens.keys import public_jwk
from tests.applications import register_application
from tests.clients.apache import prepare_apache
from tests.conftest import make_key_pair
from tests.examples.programs import run_program
from tests.npm import install_packages
from tests.servers import Pair, find_port, serve_pair

HOME = Path(__file__).parent

Command = tuple[list[str], dict[str, str]]  # and settings


@dataclass(frozen=True)
class Application:
    """The URL of an application, and its pages: sign in, show the user, sign out."""

    url: str
    sign_in: str = "/sign-in"
    known: str = "/"
    sign_out: str = "/sign-out"


@dataclass
class Clients:
    """Starts each application when it is first needed. All are stopped with `stack`."""

    pair: Pair
    folder: Path
    stack: ExitStack
    running: dict[str, Application] = field(default_factory=dict)

    def start(self, name: str) -> Application:
        """Return a running application."""
        if name not in self.running:
            self.running[name] = self._serve(name)
        return self.running[name]

    def node(self) -> Path:
        """Return the folder with the programs for Node and their packages."""
        if not (self.folder / "npm").exists():
            install_packages(HOME / "npm", self.folder)
        return self.folder / "npm"

    def _serve(self, name: str) -> Application:
        folder = self.folder / f"application{len(self.running)}"
        folder.mkdir()
        pages, prepare = APPLICATIONS[name]
        application = Application(f"http://127.0.0.1:{find_port()}", *pages)
        command, settings = prepare(self, application.url, folder)
        settings = {"ISSUER": self.pair.auth.url, "URL": application.url, **settings}
        log = folder / "log"
        self.stack.enter_context(run_program(command, folder, settings, application.url, log))
        return application


@contextmanager
def serve_clients(folder: Path) -> Iterator[Clients]:
    """Serve both services until the block ends; logout notices may go to applications on this machine."""
    settings = {"STATUS_LIST_TTL": "1", "BACKCHANNEL_LOGOUT_NETWORKS": "127.0.0.0/8"}
    with serve_pair(folder / "pair", auth_settings=settings) as pair, ExitStack() as stack:
        yield Clients(pair, folder, stack)


def _openid_client(method: str) -> Callable[[Clients, str, Path], Command]:
    def prepare(clients: Clients, url: str, folder: Path) -> Command:
        name = f"openid-client-{method.replace('_', '-')}"
        options: list[str] = []
        settings: dict[str, str] = {}
        if method == "none":
            options = ["--public"]
        elif method == "private_key_jwt":
            options, settings = _make_keys(folder)
        secret = register_application(clients.pair, name, f"{url}/callback", f"{url}/", *options)
        settings |= {"CLIENT_ID": name, "AUTH_METHOD": method, "CLIENT_SECRET": secret or ""}
        return ["node", str(clients.node() / "openid_client.js")], settings

    return prepare


def _make_keys(folder: Path) -> tuple[list[str], dict[str, str]]:
    """Create a key pair, and return the options that register it and the settings for it."""
    pair = make_key_pair(folder)
    numbers = pair.private_key.private_numbers()
    public = {"kid": pair.kid, **public_jwk(pair.private_key.public_key())}
    private = {
        "d": numbers.d,
        "p": numbers.p,
        "q": numbers.q,
        "dp": numbers.dmp1,
        "dq": numbers.dmq1,
        "qi": numbers.iqmp,
    }
    encoded = {name: _encode(number) for name, number in private.items()}
    (folder / "jwks.json").write_text(json.dumps({"keys": [public]}))
    (folder / "jwk.json").write_text(json.dumps({"kty": "RSA", **public, **encoded}))
    return ["--jwks", str(folder / "jwks.json")], {"KEY_FILE": str(folder / "jwk.json")}


def _auth_js(clients: Clients, url: str, folder: Path) -> Command:
    secret = register_application(clients.pair, "auth-js", f"{url}/auth/callback/pair", f"{url}/")
    settings = {"CLIENT_ID": "auth-js", "CLIENT_SECRET": secret or "", "AUTH_TRUST_HOST": "true"}
    return ["node", str(clients.node() / "auth_js.js")], settings


def _idpyoidc(clients: Clients, url: str, folder: Path) -> Command:
    pytest.importorskip("idpyoidc")
    secret = register_application(clients.pair, "idpyoidc", f"{url}/callback", f"{url}/")
    settings = {"CLIENT_ID": "idpyoidc", "CLIENT_SECRET": secret or ""}
    return [sys.executable, str(HOME / "idpyoidc_app.py")], settings


def _mod_auth_openidc(clients: Clients, url: str, folder: Path) -> Command:
    command = prepare_apache(folder, url)
    told = ("--backchannel-logout-uri", f"{url}/callback?logout=backchannel")
    secret = register_application(clients.pair, "apache", f"{url}/callback", f"{url}/public/", *told)
    return command, {"CLIENT_ID": "apache", "CLIENT_SECRET": secret or ""}


def _encode(number: int) -> str:
    return urlsafe_b64encode(number.to_bytes((number.bit_length() + 7) // 8)).rstrip(b"=").decode()


APPLICATIONS: dict[str, tuple[tuple[str, ...], Callable[[Clients, str, Path], Command]]] = {
    "openid-client": ((), _openid_client("client_secret_basic")),
    "openid-client, secret in the body": ((), _openid_client("client_secret_post")),
    "openid-client, signed assertion": ((), _openid_client("private_key_jwt")),
    "openid-client, public": ((), _openid_client("none")),
    "auth.js": (("/auth/signin", "/", "/auth/signout"), _auth_js),
    "idpyoidc": ((), _idpyoidc),
    "mod_auth_openidc": (("/", "/private/", "/callback?logout={}/public/"), _mod_auth_openidc),
}
