"""Tell applications who has signed in, as far as the scope says: `/userinfo` (OpenID Connect Core 5.3)."""

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

# By scope, the claims that it gives (section 5.4).
CLAIMS = {
    "profile": ("name", "preferred_username", "updated_at"),
    "email": ("email", "email_verified"),
    "roles": ("roles",),
}


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
    """Return the token of the header, or of a form (RFC 6750 section 2).

    Raises `Unauthorized`, and `InvalidRequest` for a token in both.
    """
    in_form = _read_form_token()
    if "Authorization" in request.headers:
        if in_form is not None:  # a client must not (section 2), and which one is meant nobody knows
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
