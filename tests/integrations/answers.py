"""Check the responses of a view that requires the scope courses:read, in any kind of application."""

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from tests.conftest import bearer
from tests.forger import ISSUER, Forger

METADATA = "/.well-known/oauth-protected-resource"


def check_view(client: FlaskClient, path: str, forger: Forger, attacker: Forger) -> None:
    """Assert a view's responses to a good token, a bad one, one without the scope, and none."""
    good = client.get(path, headers=bearer(forger.sign()))
    assert (good.status_code, good.json) == (200, {"reader": forger.subject}), good.text
    check_refusal(client.get(path), 401, 'Bearer resource_metadata="')
    check_refusal(client.get(path, headers=bearer(attacker.sign())), 401, 'Bearer error="invalid_token"')
    check_refusal(client.get(path, headers=bearer("x")), 401, 'Bearer error="invalid_token"')
    poor = client.get(path, headers=bearer(forger.sign(scope="other")))
    check_refusal(poor, 403, 'Bearer error="insufficient_scope", scope="courses:read')


def check_unavailable(client: FlaskClient, path: str, forger: Forger) -> None:
    """Assert a view's response while no token can be verified."""
    issuer = client.application.extensions["flask_resource_server"].verifier.issuers[0].url
    assert issuer != ISSUER
    response = client.get(path, headers=bearer(forger.sign(iss=issuer)))
    assert (response.status_code, response.headers.getlist("Retry-After")) == (503, ["1"]), response.text


def check_refusal(response: TestResponse, status: int, challenge: str) -> None:
    """Assert a status, and exactly one challenge, which begins with `challenge`."""
    assert response.status_code == status, response.text
    (header,) = response.headers.getlist("WWW-Authenticate")
    assert header.startswith(challenge)


def published_scopes(client: FlaskClient) -> list[str]:
    """Return the scopes in the application's metadata."""
    metadata = client.get(METADATA).json
    assert metadata
    scopes: list[str] = metadata["scopes_supported"]
    return scopes
