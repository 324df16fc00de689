"""Tell applications who has signed in, as far as the scope says: `/userinfo` (OpenID Connect Core 5.3)."""

import re

from flask import Blueprint, request

from auth_app.accounts.permissions import remaining_scopes
from auth_app.accounts.sessions import find_session_of
from auth_app.models import User
from auth_app.oauth.access_tokens import read_access_token
from flask_resource_server import InsufficientScope, InvalidToken
from flask_resource_server.errors import Unauthorized
from shared.bodies import decode_form

blueprint = Blueprint("userinfo", __name__)

# By scope, the claims that it gives (section 5.4).
CLAIMS = {
    "profile": ("name", "preferred_username", "updated_at"),
    "email": ("email", "email_verified"),
    "roles": ("roles",),
}

_BEARER = re.compile(r"Bearer +([^ ]+) *", re.IGNORECASE)


@blueprint.route("/userinfo", methods=["GET", "POST"])
def show_user_info() -> dict[str, object]:
    """Return what the access token lets its client know of its user."""
    claims = read_access_token(_read_token())
    if claims is None:
        raise InvalidToken
    scopes = remaining_scopes(claims)
    if "openid" not in scopes:
        raise InsufficientScope("openid")
    session = find_session_of(claims)
    if session is None or session.user is None:
        raise InvalidToken
    known = _describe(session.user)
    granted = (name for scope, names in CLAIMS.items() if scope in scopes for name in names)
    shown = {name: known[name] for name in granted if known[name] is not None}
    return {"sub": str(session.user.id), **shown}


def _describe(user: User) -> dict[str, object]:
    return {
        "name": user.name,
        "preferred_username": user.username,
        "updated_at": user.updated_at,
        "email": user.email,
        "email_verified": user.email_verified if user.email else None,
        "roles": user.roles,
    }


def _read_token() -> str:
    """Return the token of the header, or of a form (RFC 6750 section 2). Raises `Unauthorized`."""
    if "Authorization" in request.headers:
        match = _BEARER.fullmatch(request.headers["Authorization"])
        if match is None:
            raise Unauthorized
        return match[1]
    if request.method == "POST" and request.mimetype == "application/x-www-form-urlencoded":
        token = decode_form(frozenset()).get("access_token")
        if isinstance(token, str):
            return token
    raise Unauthorized
