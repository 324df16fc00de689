"""Make a Flask application a resource server, in one call."""

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from shared import bodies, contract, docs, errors, headers, health, verification
from shared.keys import PublicKeys


def init_app(
    app: Flask, *, issuer: str, audience: str, public_keys: PublicKeys, checks: health.Checks
) -> None:
    """Give `app` what every service has: token verification, errors, headers, contract, docs page, health.

    `audience` is the service's own URL; `checks` decide about `/readyz`. The application's openapi.yml stands
    beside its package.
    """
    assert isinstance(app.json, DefaultJSONProvider)
    app.json.sort_keys = False  # members keep the order in which the documents show them
    errors.init_app(app)
    headers.init_app(app)
    bodies.init_app(app)
    verification.init_app(app, issuer=issuer, audience=audience, public_keys=public_keys)
    contract.init_app(app)
    docs.init_app(app)
    health.init_app(app, checks)
