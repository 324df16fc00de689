"""Tell clients at `/.well-known/oauth-protected-resource` who issues tokens for this service (RFC 9728)."""

from urllib.parse import urlsplit

from flask import Flask, current_app

from flask_resource_server.scopes import required_scope

_WELL_KNOWN = "/.well-known/oauth-protected-resource"


def init_app(app: Flask, *, issuer: str, resource: str) -> None:
    """Publish the metadata of `resource`, and let each challenge name its address (sections 3.1 and 5.1)."""
    parts = urlsplit(resource)
    path = _WELL_KNOWN + parts.path
    app.extensions["resource_metadata"] = f"{parts.scheme}://{parts.netloc}{path}"

    def show_protected_resource() -> tuple[dict[str, object], dict[str, str]]:
        scopes = {required_scope(view) for view in current_app.view_functions.values()} - {None}
        metadata: dict[str, object] = {
            "resource": resource,
            "authorization_servers": [issuer],
            "scopes_supported": sorted(map(str, scopes)),
            "bearer_methods_supported": ["header"],
        }
        return metadata, {"Cache-Control": "public, max-age=300"}

    app.add_url_rule(path, view_func=show_protected_resource)
    if parts.path:  # and for whoever looks below the resource's own URL
        app.add_url_rule(_WELL_KNOWN, view_func=show_protected_resource)
