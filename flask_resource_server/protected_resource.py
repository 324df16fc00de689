"""Publish the issuers and scopes of a service at `/.well-known/oauth-protected-resource` (RFC 9728)."""

from collections.abc import Sequence
from itertools import chain
from urllib.parse import unquote, urlsplit

from flask import Flask, current_app

from flask_resource_server.scopes import find_scopes

_WELL_KNOWN = "/.well-known/oauth-protected-resource"


def init_app(app: Flask, *, issuers: Sequence[str], resource: str) -> str:
    """Publish the metadata of `resource`, and return its URL (sections 3.1 and 5.1)."""
    parts = urlsplit(resource)
    path = _WELL_KNOWN + parts.path

    def show_protected_resource() -> tuple[dict[str, object], dict[str, str]]:
        guards = current_app.before_request_funcs.values()
        functions = chain(current_app.view_functions.values(), *guards)
        scopes = {scope for function in functions for scope in find_scopes(function)}
        metadata: dict[str, object] = {
            "resource": resource,
            "authorization_servers": list(issuers),
            "scopes_supported": sorted(scopes),
            "bearer_methods_supported": ["header"],
        }
        return metadata, {"Cache-Control": "public, max-age=300"}

    # Otherwise APIFlask would add it to the application's OpenAPI document.
    show_protected_resource._spec = {"hide": True}  # type: ignore[attr-defined]
    app.add_url_rule(unquote(path), "oauth_protected_resource", show_protected_resource)
    if parts.path:  # also for a client that looks for it directly below the resource's URL
        app.add_url_rule(_WELL_KNOWN, "oauth_protected_resource_root", show_protected_resource)
    return f"{parts.scheme}://{parts.netloc}{path}"
