"""Revoke tokens at `POST /revoke` (RFC 7009), and with each the session that it came of."""

from flask import Blueprint

from auth_app.access_tokens import read_access_token
from auth_app.clients import FIRST_PARTY, authenticate_client
from auth_app.errors import InvalidGrant, UnsupportedTokenType
from auth_app.models import Session
from auth_app.sessions import find_session, find_session_of_token, revoke_sessions
from shared.contract import read_body

blueprint = Blueprint("revocation", __name__)


@blueprint.post("/revoke")
def revoke_token() -> tuple[dict[str, object], int]:
    """End the session of an access or refresh token; one that is not good is as revoked already."""
    body = read_body()
    client = authenticate_client(body)
    session = _find_session(body["token"])
    if session:
        if session.client_id != (client.id if client else FIRST_PARTY):
            raise InvalidGrant("The token was issued to another client.")
        revoke_sessions(Session.id == session.id)
    return {}, 200


def _find_session(token: str) -> Session | None:
    if "." not in token:
        return find_session_of_token(token)
    claims = read_access_token(token)
    if claims and "sid" not in claims:
        raise UnsupportedTokenType
    return find_session(claims["sid"]) if claims else None
