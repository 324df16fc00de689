"""Answer grants at `POST /token` (RFC 6749)."""

from flask import Blueprint, current_app, request
from sqlalchemy import select

from auth_app.access_tokens import sign_access_token
from auth_app.database import db
from auth_app.models import User
from auth_app.passwords import verify_password
from auth_app.roles import scopes_of
from shared.contract import read_body
from shared.errors import ApiError, InvalidRequest

blueprint = Blueprint("token", __name__)


class InvalidGrant(ApiError):
    """The user is not known by this name and password, or is disabled: which of them is not told."""

    error = "invalid_grant"
    description = "The user name or the password is wrong."


class UnsupportedGrantType(ApiError):
    """The server does not answer grants of this type (RFC 6749 section 5.2)."""

    error = "unsupported_grant_type"
    description = "The grant type is not one that this server supports."


class InvalidScope(ApiError):
    """The client asked for more than the user may have (RFC 6749 section 5.2)."""

    error = "invalid_scope"
    description = "The scope names something that this user may not have."


@blueprint.post("/token")
def issue_token() -> tuple[dict[str, object], dict[str, str]]:
    """Answer a grant with an access token (RFC 6749 section 5.1)."""
    if request.args:  # RFC 6749 section 2.3.1: credentials in a URL end up in logs
        raise InvalidRequest("Send the parameters in the request body, not in the URL.")
    body = read_body()
    if body.get("grant_type", "password") != "password":
        raise UnsupportedGrantType
    user = _authenticate(body["username"], body["password"])
    scopes = _narrow(scopes_of(user.roles), body.get("scope"))
    answer = {
        "access_token": sign_access_token(user, scopes),
        "token_type": "Bearer",
        "expires_in": current_app.extensions["settings"].access_token_lifetime,
        "scope": " ".join(sorted(scopes)),
    }
    return answer, {"Cache-Control": "no-store", "Pragma": "no-cache"}


def _authenticate(username: str, password: str) -> User:
    user = db.session.scalar(select(User).where(User.username == username))
    matches = verify_password(user.password_hash if user else None, password)
    if user is None or user.is_disabled or not matches:
        raise InvalidGrant
    return user


def _narrow(allowed: frozenset[str], requested: str | None) -> frozenset[str]:
    if requested is None:
        return allowed
    scopes = frozenset(requested.split())
    if not scopes <= allowed:
        raise InvalidScope
    return scopes
