"""Compute which scopes of a token its user and client still have, whatever the token itself says."""

import uuid
from collections.abc import Mapping
from typing import Any

from auth_app.accounts.clients import find_client, scopes_of_client
from auth_app.accounts.roles import IDENTITY_SCOPES, scopes_of
from auth_app.database import db
from auth_app.models import User


def remaining_scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes of a verified token that its user and its client still have.

    A user who must choose a new password has none until then.
    """
    scopes = frozenset(claims.get("scope", "").split())
    if "sid" in claims:  # a user's token; a client's own token has no `sid`
        user = db.session.get(User, uuid.UUID(claims["sub"]))
        is_ready = user and not user.must_change_password
        scopes &= scopes_of(user.roles) | IDENTITY_SCOPES if user and is_ready else frozenset()
    client = find_client(claims["client_id"])
    return scopes & (scopes_of_client(client) | IDENTITY_SCOPES) if client else frozenset()
