"""Several applications in one process, and application settings that do not concern the kit."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from dotenv import dotenv_values, load_dotenv
from flask import Flask, request
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

from flask_resource_server import ResourceServer, current_subject, current_token, require_scope
from tests.conftest import KeyPair, bearer
from tests.forger import COURSES, ISSUER, Forger
from tests.integrations.answers import METADATA, check_view
from tests.integrations.conftest import Protect

OTHER_ISSUER = "https://other.example.com"
OTHER = "http://127.0.0.1:8083"


@pytest.fixture
def other_forger(other_key_pair: KeyPair) -> Forger:
    return Forger(other_key_pair.private_key, other_key_pair.kid, issuer=OTHER_ISSUER, resource=OTHER)


def make_app(name: str) -> Flask:
    app = Flask(name)

    @app.get("/")
    @require_scope("courses:read")
    def show() -> dict[str, str | None]:
        return {"reader": current_subject()}

    return app


@pytest.fixture
def apps(protect: Protect, other_key_pair: KeyPair) -> tuple[Flask, Flask]:
    """Two applications, each of which trusts an issuer of its own."""
    ours, other = make_app("ours"), make_app("other")
    protect(ours)
    protect(other, issuer=OTHER_ISSUER, resource=OTHER, public_key_file=other_key_pair.public_file)
    return ours, other


def test_token_for_one_application_is_refused_by_another(
    apps: tuple[Flask, Flask], forger: Forger, other_forger: Forger
) -> None:
    tokens = forger.sign(), other_forger.sign()
    statuses = [
        [app.test_client().get("/", headers=bearer(token)).status_code for token in tokens] for app in apps
    ]

    assert statuses == [[200, 401], [401, 200]]


def test_token_for_one_mounted_application_is_refused_by_another(
    apps: tuple[Flask, Flask], forger: Forger, other_forger: Forger, attacker: Forger
) -> None:
    client = Client(DispatcherMiddleware(apps[0], {"/other": apps[1]}))
    tokens = forger.sign(), other_forger.sign()

    statuses = [
        [client.get(path, headers=bearer(token)).status_code for token in tokens] for path in ("/", "/other/")
    ]

    assert statuses == [[200, 401], [401, 200]]
    assert client.get(f"/other{METADATA}").get_json()["authorization_servers"] == [OTHER_ISSUER]


def test_token_accepted_by_one_application_is_not_visible_in_another(
    apps: tuple[Flask, Flask], forger: Forger
) -> None:
    """The first forwards its own request, as WSGI middleware does."""
    ours, other = apps
    other.add_url_rule(
        "/token", view_func=lambda: {"reader": current_subject(), "token": bool(current_token())}
    )
    inner = other.wsgi_app

    @ours.get("/forward")
    @require_scope("courses:read")
    def forward() -> Any:
        assert current_subject() == forger.subject

        def call_other(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
            return inner(environ | {"PATH_INFO": "/token"}, start_response)

        answer = Client(call_other).get(environ_overrides=request.environ)
        return answer.get_json()

    answer = ours.test_client().get("/forward", headers=bearer(forger.sign()))

    assert answer.json == {"reader": None, "token": False}


def test_calling_init_app_twice_is_refused(protect: Protect) -> None:
    app = Flask("theirs")
    resource_server = protect(app)

    with pytest.raises(
        RuntimeError, match="this application is a resource server already: call init_app once"
    ):
        resource_server.init_app(app)
    with pytest.raises(
        RuntimeError, match="this application is a resource server already: call init_app once"
    ):
        protect(app)
    assert resource_server.init_app(Flask("another")) is not resource_server


def test_view_in_an_application_without_the_kit_says_what_to_call(forger: Forger) -> None:
    app = make_app("theirs")
    app.testing = True

    with pytest.raises(RuntimeError, match=r"call ResourceServer\(app\)"):
        app.test_client().get("/", headers=bearer(forger.sign()))


THEIRS = {
    "METRICS": "1",
    "RESOURCE": "cpu",
    "ISSUER": "Coins Ltd.",
    "COPIES": "3",
    "JWT_PRIVATE_KEY": "mine",
    "JWT_PUBLIC_KEY": "mine too",
    "JWT_SECRET_KEY": "hush",
    "JWT_ALGORITHM": "HS256",
}


def test_unrelated_settings_with_the_same_names_are_ignored_and_kept(
    key_pair: KeyPair, forger: Forger, attacker: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are in .env, in the environment and in the configuration, as with `flask run`."""
    Path(".env").write_text("".join(f"{name}={value}\n" for name, value in THEIRS.items()))
    for name in THEIRS:  # so that monkeypatch undoes what is loaded
        monkeypatch.setenv(name, "")
    load_dotenv(".env", override=True)
    monkeypatch.setenv("FLASK_OAUTH_ISSUER", ISSUER)
    monkeypatch.setenv("FLASK_OAUTH_RESOURCE", COURSES)
    monkeypatch.setenv("FLASK_OAUTH_STATUS_CLAIM", "ignored")
    app = make_app("theirs")
    app.config.from_mapping(dotenv_values(".env"))
    app.config.from_prefixed_env()

    ResourceServer(app, public_key_file=key_pair.public_file)

    check_view(app.test_client(), "/", forger, attacker)
    assert {name: app.config[name] for name in THEIRS} == THEIRS
