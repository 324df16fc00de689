"""Other Flask extensions work together with the kit."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_cors import CORS
from flask_jwt_extended import jwt_required
from flask_login import LoginManager, UserMixin, current_user, login_required, login_user
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.orm import Mapped, mapped_column

from flask_resource_server import current_subject, require_scope
from tests.conftest import bearer
from tests.forger import Forger
from tests.integrations.answers import METADATA, check_refusal, check_view
from tests.integrations.conftest import Protect
from tests.servers import environment_for

PAGE = "https://page.example.com"

WHEN = pytest.mark.parametrize("added", ["before", "after"])


class AppUser(UserMixin):
    id = "7"


@WHEN
def test_flask_login_works_alongside_tokens(
    added: str, protect: Protect, forger: Forger, attacker: Forger
) -> None:
    app = Flask("theirs")
    app.secret_key = "theirs"
    if added == "before":
        protect(app)
    LoginManager(app).user_loader(lambda _user_id: AppUser())
    if added == "after":
        protect(app)

    @app.get("/page")
    @login_required
    def show_page() -> dict[str, Any]:
        return {"user": current_user.id, "reader": current_subject()}

    @app.post("/login")
    def log_in() -> str:
        login_user(AppUser())
        return "good"

    @app.get("/api")
    @jwt_required()
    @require_scope("courses:read")
    def show() -> dict[str, str | None]:
        return {"reader": current_subject()}

    client = app.test_client()

    unauthorized = client.get("/page", headers=bearer(forger.sign()))
    assert (unauthorized.status_code, "WWW-Authenticate" in unauthorized.headers) == (401, False)
    client.post("/login")
    assert client.get("/page").json == {"user": "7", "reader": None}
    check_view(client, "/api", forger, attacker)  # a session does not replace a token


@pytest.fixture(params=["before", "after"])
def shared_with_pages(request: pytest.FixtureRequest, protect: Protect) -> Flask:
    """An application that pages from another origin may call."""
    app = Flask("theirs")
    if request.param == "before":
        protect(app)
    CORS(app, origins=[PAGE], expose_headers=["WWW-Authenticate"])
    if request.param == "after":
        protect(app)

    @app.get("/jwt")
    @jwt_required()
    def show() -> str:
        return "good"

    app.add_url_rule("/scope", "scope", require_scope("courses:read")(lambda: "good"))
    app.before_request(require_scope()(lambda: None))
    return app


def test_preflight_request_passes_a_guard(shared_with_pages: Flask) -> None:
    headers = {
        "Origin": PAGE,
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "Authorization",
    }

    preflight = shared_with_pages.test_client().options("/scope", headers=headers)

    assert preflight.status_code == 200
    assert preflight.headers["Access-Control-Allow-Origin"] == PAGE
    assert preflight.headers["Access-Control-Allow-Headers"] == "Authorization"


@pytest.mark.parametrize("path", ["/jwt", "/scope"])
def test_errors_carry_cors_headers(
    path: str, shared_with_pages: Flask, forger: Forger, attacker: Forger
) -> None:
    client = shared_with_pages.test_client()
    poor = forger.sign(scope="other")

    for token, status in (("", 401), (attacker.sign(), 401), (poor, 403 if path == "/scope" else 200)):
        headers = {"Origin": PAGE} | (bearer(token) if token else {})
        response = client.get(path, headers=headers)
        assert response.status_code == status
        assert response.headers["Access-Control-Allow-Origin"] == PAGE


def test_503_response_carries_cors_headers(protect_without_keys: Protect, forger: Forger) -> None:
    app = Flask("theirs")
    issuer = protect_without_keys(app).verifier.issuers[0].url
    CORS(app, origins=[PAGE])
    app.add_url_rule("/", view_func=require_scope()(lambda: "good"))

    headers = {"Origin": PAGE} | bearer(forger.sign(iss=issuer))
    response = app.test_client().get("/", headers=headers)

    assert response.status_code == 503
    assert response.headers["Access-Control-Allow-Origin"] == PAGE


def test_views_and_scope_lookups_can_use_a_database(
    protect: Protect, forger: Forger, attacker: Forger
) -> None:
    """The database session is the application's: a refused request leaves nothing open in it."""
    app = Flask("theirs")
    app.config["SQLALCHEMY_DATABASE_URI"] = "sqlite://"
    db: Any = SQLAlchemy(app)

    class Reader(db.Model):
        subject: Mapped[str] = mapped_column(primary_key=True)

    with app.app_context():
        db.create_all()
        db.session.add(Reader(subject=forger.subject))
        db.session.commit()
    protect(
        app,
        current_scopes=lambda claims: (
            claims.scopes if db.session.get(Reader, claims.subject) else frozenset()
        ),
    )

    @app.get("/")
    @jwt_required()
    @require_scope("courses:read")
    def show() -> dict[str, str]:
        return {"reader": db.session.get_one(Reader, current_subject()).subject}

    check_view(app.test_client(), "/", forger, attacker)
    unknown = app.test_client().get("/", headers=bearer(forger.sign(sub="nobody")))
    check_refusal(unknown, 403, 'Bearer error="insufficient_scope"')
    with app.app_context():
        db.engine.dispose()


# Runs in its own process, because our services, which the tests import, have a metric with this name.
WITH_METRIC = """
import prometheus_client
from flask import Flask
from flask_resource_server import ResourceServer, require_scope
from flask_resource_server.testing import TokenIssuer

before = {metric.name for metric in prometheus_client.REGISTRY.collect()}
seconds = prometheus_client.Histogram("http_request_duration_seconds", "Theirs", ["status"])
app = Flask("theirs")
ResourceServer(app, issuer="https://issuer.example.com", resource="https://service.example.com")
app.add_url_rule("/", view_func=require_scope()(lambda: "good"))

@app.after_request
def observe(response):
    seconds.labels(response.status_code).observe(0.1)
    return response

with TokenIssuer().trusted_by(app) as tokens:
    assert app.test_client().get("/", headers=tokens.headers()).status_code == 200
assert app.test_client().get("/metrics").status_code == 404
added = {metric.name for metric in prometheus_client.REGISTRY.collect()} - before
assert added == {"http_request_duration_seconds"}, added
counted = prometheus_client.REGISTRY.get_sample_value
assert counted("http_request_duration_seconds_count", {"status": "200"}) == 1
"""


def test_kit_does_not_clash_with_a_metric_of_the_application(tmp_path: Path) -> None:
    """Prometheus refuses a second metric with the same name: the application would not start."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITH_METRIC],
        env=environment_for({"METRICS": "1"}),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (done.returncode, done.stderr) == (0, "")


def test_metadata_carries_cors_headers(shared_with_pages: Flask) -> None:
    """A page reads it before it has a token, unless a guard of the application forbids that."""
    shared_with_pages.before_request_funcs.clear()

    metadata = shared_with_pages.test_client().get(METADATA, headers={"Origin": PAGE})

    assert metadata.headers["Access-Control-Allow-Origin"] == PAGE
