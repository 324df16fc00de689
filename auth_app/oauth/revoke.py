"""Serve `POST /revoke`: revoke a token by ending its session, with all its tokens (RFC 7009)."""

from flask import Blueprint

from auth_app.accounts.refresh_tokens import find_session_of_token
from auth_app.accounts.session_ends import end_session
from auth_app.accounts.sessions import find_session_of
from auth_app.database import db
from auth_app.errors import InvalidGrant
from auth_app.models import Session
from auth_app.oauth.access_tokens import read_access_token
from auth_app.oauth.client_authentication import authenticate_client
from shared.contract import read_body

blueprint = Blueprint("revocation", __name__)


@blueprint.post("/revoke")
def revoke_token() -> tuple[dict[str, object], int]:
    """End the session of an access or refresh token. An invalid token counts as revoked already."""
    body = read_body()
    client = authenticate_client(body)
    session = _find_session(body["token"])
    if session:
        if session.client_id != client.id:
            raise InvalidGrant("The token was issued to another client.")
        end_session(session.id, user=session.user_id, client=session.client_id)
        db.session.commit()
    return {}, 200


def _find_session(token: str) -> Session | None:
    if "." not in token:
        return find_session_of_token(token)
    claims = read_access_token(token)
    return find_session_of(claims) if claims else None
