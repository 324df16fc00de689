"""Tell which scopes the user and the client of a token have by now, whatever the token says."""

import uuid
from typing import Any

from sqlalchemy import select

from auth_app.database import db
from auth_app.models import FIRST_PARTY, Client, User
from auth_app.roles import SCOPES, scopes_of


def current_scopes(claims: dict[str, Any]) -> frozenset[str]:
    """Return the scopes that the user and the client of a verified token have now.

    A user who must choose another password has none until then.
    """
    scopes = SCOPES
    if "sid" in claims:  # a user's; a client's own token has none
        user = db.session.get(User, uuid.UUID(claims["sub"]))
        scopes &= scopes_of(user.roles) if user and not user.must_change_password else frozenset()
    if claims["client_id"] != FIRST_PARTY:
        query = select(Client.scopes).where(Client.id == claims["client_id"], Client.removed_at.is_(None))
        scopes &= frozenset(db.session.scalar(query) or [])
    return scopes
