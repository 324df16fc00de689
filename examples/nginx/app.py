"""Verify access tokens for nginx's `auth_request`: 204, or the 401, 403 or 503 that the client should get."""

from flask import Flask

from flask_resource_server import ResourceServer, current_subject, require_scope

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_OAUTH_ISSUER, FLASK_OAUTH_RESOURCE
ResourceServer(app)


@app.get("/verify")
@require_scope("courses:read")
def verify() -> tuple[str, int, dict[str, str]]:
    """Accept the request, and return the token's subject to nginx in a header."""
    return "", 204, {"X-Subject": current_subject() or ""}
