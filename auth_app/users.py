"""Tell users about themselves at `/users`."""

import uuid

from flask import Blueprint
from flask_jwt_extended import jwt_required

from auth_app.database import db
from auth_app.models import User
from shared.errors import InvalidToken
from shared.verification import verified_claims

blueprint = Blueprint("users", __name__, url_prefix="/users")


@blueprint.get("/me")
@jwt_required()
def read_me() -> dict[str, object]:
    """Return the user whose token this is."""
    user = _find_user(verified_claims().subject)
    if user is None or user.is_disabled:
        raise InvalidToken
    return {"id": str(user.id), "username": user.username, "roles": user.roles}


def _find_user(subject: str) -> User | None:
    try:
        return db.session.get(User, uuid.UUID(subject))
    except ValueError:  # the subject is no user's
        return None
