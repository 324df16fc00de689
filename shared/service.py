"""Set up what both services share: metrics, request IDs, errors, headers, docs, health, proxies, CORS."""

from collections.abc import Sequence
from pathlib import Path

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from shared import bodies, contract, cors, docs, errors, headers, health, metrics, proxies, request_id
from shared.docs_sign_in import SignIn
from shared.settings import Settings


def install_defaults(
    app: Flask,
    settings: Settings,
    *,
    checks: health.Checks,
    ages: metrics.Ages,
    api_paths: Sequence[str] = (),
    docs_sign_in: SignIn | None = None,
) -> None:
    """Set up `app`. If its package has an openapi.yml, add validation and the docs page too.

    `api_paths` are regular expressions for the whole paths that scripts of CORS_ORIGINS may use. With
    `docs_sign_in`, users can sign in on the docs page.
    """
    assert isinstance(app.json, DefaultJSONProvider)
    app.json.sort_keys = False  # members keep the order in which openapi.yml shows them
    # Otherwise Werkzeug responds to a doubled slash with a 308 to an http URL of the Host header, and a
    # browser repeats its form there in clear text.
    app.url_map.merge_slashes = False
    metrics.init_app(app, settings, ages)
    request_id.init_app(app)
    errors.init_app(app)
    headers.init_app(app)
    bodies.init_app(app)
    if (Path(app.root_path) / "openapi.yml").exists():
        contract.init_app(app)
        docs.init_app(app, docs_sign_in)
    health.init_app(app, checks)
    proxies.init_app(app, settings.trusted_proxies)
    cors.init_app(app, settings.cors_origins, api_paths)
