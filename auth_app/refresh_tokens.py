"""Rotate refresh tokens, and take a second use of one for a theft (RFC 9700 section 4.14.2)."""

import secrets
import time

from sqlalchemy import bindparam, select, update

from auth_app import audit
from auth_app.database import db
from auth_app.errors import InvalidGrant
from auth_app.models import Session
from auth_app.session_ends import end_session
from auth_app.sessions import FAMILY_LENGTH, LIVE, hash_secret

# One statement decides who spends a token: of those who come at the same time, one finds the row as it was.
_SPEND = (
    update(Session)
    .where(Session.family_hash == bindparam("family"), Session.refresh_token_hash == bindparam("spent"))
    .where(Session.client_id == bindparam("client"), LIVE)
    .values(refresh_token_hash=bindparam("successor"))
    .returning(Session)
    .execution_options(synchronize_session=False)
)
_LIVE_SESSION = select(Session).where(Session.family_hash == bindparam("family"), LIVE)


def rotate_refresh_token(refresh_token: str, client_id: str) -> tuple[Session, str]:
    """Spend a refresh token and return its session and the next one.

    The caller commits, or gives the token back by not doing so. A token that was spent before ends its
    session, for one of the two who used it is a thief. Raises `InvalidGrant`.
    """
    successor = refresh_token[:FAMILY_LENGTH] + secrets.token_urlsafe(32)
    session = db.session.scalar(
        _SPEND,
        {
            "family": _hash_family(refresh_token),
            "spent": hash_secret(refresh_token),
            "successor": hash_secret(successor),
            "client": client_id,
            "now": int(time.time()),
        },
    )
    if session is None:
        _end_if_reused(refresh_token, client_id)
        raise InvalidGrant("The refresh token is unknown, expired, revoked or spent.")
    return session, successor


def _end_if_reused(refresh_token: str, client_id: str) -> None:
    session = find_session_of_token(refresh_token)
    if session and session.client_id == client_id:
        audit.record("refresh_token_reused", actor=session.user_id, client=client_id, session=session.id)
        end_session(session.id, user=session.user_id, client=client_id)
        db.session.commit()  # although the request is refused


def find_session_of_token(refresh_token: str) -> Session | None:
    """Return the live session that a refresh token belongs to, be it spent or not."""
    return db.session.scalar(_LIVE_SESSION, {"family": _hash_family(refresh_token), "now": int(time.time())})


def is_newest(refresh_token: str, session: Session) -> bool:
    """Tell whether a refresh token of a session is the one that can be spent next."""
    return secrets.compare_digest(session.refresh_token_hash, hash_secret(refresh_token))


def _hash_family(refresh_token: str) -> str:
    return hash_secret(refresh_token[:FAMILY_LENGTH])
