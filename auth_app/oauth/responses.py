"""Build the token responses of `/token`, and the claims about user and session in access tokens."""

import time
from collections.abc import Iterable

from auth_app.current import current_settings
from auth_app.models import Session, User
from auth_app.oauth.access_tokens import sign_access_token
from auth_app.oauth.id_tokens import sign_id_token
from auth_app.oauth.status_lists import uri_of

TokenResponse = dict[str, object]


def build_login_response(
    session: Session,
    user: User,
    scopes: Iterable[str],
    audience: list[str],
    refresh_token: str | None,
    nonce: str | None = None,
) -> TokenResponse:
    """Return the token response for a user's session: access token, refresh token and ID token, if any.

    A user who must change the password gets an access token without scopes, for this server only.
    """
    claims = {"sid": str(session.id), "username": user.username}
    refresh = {"refresh_token": refresh_token} if refresh_token else {}
    if user.must_change_password:  # `PUT /users/me/password` needs no scope
        response = build_token_response(session, str(user.id), (), [current_settings().issuer], **claims)
        return response | refresh | {"password_change_required": True}
    response = build_token_response(session, str(user.id), scopes, audience, **claims) | refresh
    if "openid" in scopes:
        response["id_token"] = sign_id_token(session, str(response["access_token"]), nonce)
    return response


def build_token_response(
    session: Session, subject: str, scopes: Iterable[str], audience: list[str], **claims: object
) -> TokenResponse:
    """Return the token response for an access token of a session. `claims` are additional claims."""
    # No token outlives its session, so that the row of an expired session can be deleted.
    lifetime = min(current_settings().access_token_lifetime, session.expires_at - int(time.time()))
    access_token = sign_access_token(
        subject=subject,
        client_id=session.client_id,
        scopes=scopes,
        audience=audience,
        lifetime=lifetime,
        status={"status_list": {"idx": session.status_index, "uri": uri_of(session.status_list_id)}},
        **claims,
    )
    return {
        "access_token": access_token,
        "token_type": "Bearer",
        "expires_in": lifetime,
        "scope": " ".join(sorted(scopes)),
    }
