"""Tell which scopes the user and the client of a token have by now, whatever the token says."""

import uuid
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from auth_app.accounts.roles import scopes_of
from auth_app.database import db
from auth_app.models import FIRST_PARTY, Client, User


def remaining_scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return those scopes of a verified token that its user and its client still have.

    A user who must choose another password has none until then.
    """
    scopes = frozenset(claims.get("scope", "").split())
    if "sid" in claims:  # a user's; a client's own token has none
        user = db.session.get(User, uuid.UUID(claims["sub"]))
        scopes &= scopes_of(user.roles) if user and not user.must_change_password else frozenset()
    if claims["client_id"] != FIRST_PARTY:
        query = select(Client.scopes).where(Client.id == claims["client_id"], Client.removed_at.is_(None))
        scopes &= frozenset(db.session.scalar(query) or [])
    return scopes
