"""Serve `/userinfo`: the user's claims that the access token's scopes allow (OpenID Connect Core 5.3)."""

from flask import Blueprint, request

from auth_app.accounts.permissions import remaining_scopes
from auth_app.accounts.sessions import find_session_of
from auth_app.models import User
from auth_app.oauth.access_tokens import read_access_token
from flask_resource_server import InsufficientScope, InvalidToken
from flask_resource_server.errors import Unauthorized
from shared.bodies import decode_form
from shared.errors import InvalidRequest

blueprint = Blueprint("userinfo", __name__)

# The claims that each scope allows (section 5.4).
CLAIMS = {
    "profile": ("name", "preferred_username", "updated_at"),
    "email": ("email", "email_verified"),
    "roles": ("roles",),
}


@blueprint.route("/userinfo", methods=["GET", "POST"])
def show_user_info() -> dict[str, object]:
    """Return the claims about the user that the scopes of the access token allow."""
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
    """Return the token from the header or the form (RFC 6750 section 2).

    Raises `Unauthorized` if there is none, and `InvalidRequest` if there are two.
    """
    in_form = _read_form_token()
    if "Authorization" in request.headers:
        if in_form is not None:  # a client must not send two (section 2)
            raise InvalidRequest(
                "Send the access token in the Authorization header or in the form, not in both."
            )
        scheme, _, token = request.headers["Authorization"].strip().partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized
        return token.strip()
    if in_form is None:
        raise Unauthorized
    return in_form


def _read_form_token() -> str | None:
    if request.method != "POST" or request.mimetype != "application/x-www-form-urlencoded":
        return None
    token = decode_form(frozenset()).get("access_token")
    return token if isinstance(token, str) else None
