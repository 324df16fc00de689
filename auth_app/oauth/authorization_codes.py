"""Issue authorization codes, and redeem each once for a session (RFC 6749 section 4.1, PKCE: RFC 7636)."""

import hashlib
import secrets
import time
import uuid
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import bindparam, insert, select, update

from auth_app import audit
from auth_app.accounts.browser_sessions import lock_browser_session
from auth_app.accounts.clients import audience_of_client
from auth_app.accounts.session_ends import end_session
from auth_app.accounts.sessions import hash_secret, lock_client, start_session
from auth_app.database import db, delete_expired
from auth_app.errors import InvalidGrant
from auth_app.models import AuthorizationCode, BrowserSession, Client, Session, User
from auth_app.oauth.scopes import allowed_scopes, narrow_audience

LIFETIME = 60  # seconds
_REMEMBERED = 3600  # seconds after the expiry for which the reuse of a code is detected

# One statement uses a code: of several concurrent requests, only one finds the row unchanged. A wrong
# verifier does not use the code up, so that someone who saw it in a log cannot make the login fail.
_OF_REQUEST = (
    AuthorizationCode.code_hash == bindparam("code"),
    AuthorizationCode.client_id == bindparam("client"),
    AuthorizationCode.redirect_uri == bindparam("uri"),
    AuthorizationCode.code_challenge == bindparam("challenge"),
)
_USE = (
    update(AuthorizationCode)
    .where(*_OF_REQUEST, AuthorizationCode.session_id.is_(None))
    .where(AuthorizationCode.expires_at > bindparam("now"))
    .values(session_id=bindparam("session"))
    .returning(AuthorizationCode)
    .execution_options(synchronize_session=False)
)
_USED = select(AuthorizationCode.session_id).where(*_OF_REQUEST)


@dataclass(frozen=True)
class Grant:
    """What a code stands for: the client's request, as it was granted."""

    client_id: str
    redirect_uri: str
    code_challenge: str
    scope: str
    resources: list[str]
    nonce: str | None


class RedeemedCode(NamedTuple):
    """The session that a code has started, with its first refresh token and the request's nonce."""

    session: Session
    user: User
    refresh_token: str
    nonce: str | None


def issue_code(grant: Grant, browser_session: BrowserSession) -> str:
    """Return a code for a grant of the user who is signed in to a browser. The caller commits."""
    now = int(time.time())
    delete_expired(AuthorizationCode, AuthorizationCode.expires_at, now - _REMEMBERED)
    code = secrets.token_urlsafe(32)
    row = {
        **vars(grant),
        "code_hash": hash_secret(code),
        "browser_session_id": browser_session.id,
        "auth_time": browser_session.authenticated_at,
        "expires_at": now + LIFETIME,
    }
    db.session.execute(insert(AuthorizationCode), [row])
    return code


def redeem_code(client: Client, code: str, redirect_uri: str, verifier: str) -> RedeemedCode:
    """Start the session that a code stands for. The caller commits.

    Reusing a code ends the session that it started, which is committed here. Raises `InvalidGrant`, also if
    the user has signed out of the browser in the meantime.
    """
    parameters = {
        "code": hash_secret(code),
        "client": client.id,
        "uri": redirect_uri,
        "challenge": challenge_of(verifier),
    }
    session_id = uuid.uuid4()
    used = db.session.scalar(_USE, {**parameters, "session": session_id, "now": int(time.time())})
    if used is None:
        _end_replayed(client, db.session.scalar(_USED, parameters))
        raise InvalidGrant(
            "The code is unknown, expired or used, or was issued for other parameters or another client."
        )
    browser_session = lock_browser_session(used.browser_session_id)
    if browser_session is None:
        raise InvalidGrant("The user has signed out since the code was issued.")
    lock_client(client)
    user = browser_session.user
    scopes = frozenset(used.scope.split()) & allowed_scopes(user, client)
    session, refresh_token = start_session(
        user,
        id=session_id,
        client_id=client.id,
        scope=" ".join(sorted(scopes)),
        resources=narrow_audience(set(used.resources) & set(audience_of_client(client)), None),
        browser_session_id=browser_session.id,
        auth_time=used.auth_time,
        address=browser_session.address,
    )
    return RedeemedCode(session, user, refresh_token, used.nonce)


def challenge_of(verifier: str) -> str:
    """Return the S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _end_replayed(client: Client, session_id: uuid.UUID | None) -> None:
    """End the session of a code that is reused with the right verifier (RFC 6749 section 4.1.2)."""
    if session_id:
        audit.record_on_commit("code_reused", client=client.id, session=session_id)
        end_session(session_id, client=client.id)
        db.session.commit()  # here, because the refused request rolls back
