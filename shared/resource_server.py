"""Make a Flask application a resource server, in one call."""

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from shared import bodies, contract, docs, errors, headers, health, request_id, verification
from shared.public_keys import PublicKeys


def init_app(
    app: Flask,
    *,
    issuer: str,
    audience: str,
    public_keys: PublicKeys,
    checks: health.Checks,
    is_revoked: verification.IsRevoked = lambda _claims: False,
) -> None:
    """Give `app` what every service has: token verification, errors, headers, contract, docs page, health.

    `audience` is the service's own URL; `checks` decide about `/readyz`; `is_revoked` tells from its claims
    whether a token was revoked. The application's openapi.yml stands beside its package.
    """
    assert isinstance(app.json, DefaultJSONProvider)
    app.json.sort_keys = False  # members keep the order in which the documents show them
    request_id.init_app(app)
    errors.init_app(app)
    headers.init_app(app)
    bodies.init_app(app)
    verification.init_app(
        app, issuer=issuer, audience=audience, public_keys=public_keys, is_revoked=is_revoked
    )
    contract.init_app(app)
    docs.init_app(app)
    health.init_app(app, {"keys": public_keys.check, **checks})
