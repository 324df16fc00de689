"""Manage users at `/users`: their own passwords, and for holders of `users:manage` everybody."""

import uuid
from urllib.parse import urlencode

from flask import Blueprint, request
from flask_jwt_extended import get_jwt, jwt_required
from sqlalchemy import select
from werkzeug.exceptions import NotFound

from auth_app.accounts import change_password, create_user, set_disabled, set_roles
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.models import Session, User
from auth_app.roles import DEFAULT_ROLE
from auth_app.session_ends import set_pending_bits
from auth_app.sessions import find_live_session
from shared.contract import read_body, read_query
from shared.errors import InsufficientScope, InvalidToken, Unauthorized
from shared.scopes import require_scope
from shared.verification import verified_claims

blueprint = Blueprint("users", __name__, url_prefix="/users")

SCOPE = "users:manage"


@blueprint.get("/me")
@jwt_required()
def read_me() -> dict[str, object]:
    """Return the user whose token this is."""
    return _present(_current_session()[1])


@blueprint.put("/me/password")
@jwt_required()
def change_own_password() -> tuple[str, int]:
    """Give the user another password, and end all other sessions."""
    (session, user), body = _current_session(), read_body()
    change_password(user, session, body["current_password"], body["new_password"])
    db.session.commit()
    set_pending_bits()
    return "", 204


@blueprint.get("")
@jwt_required()
@require_scope(SCOPE)
def list_users() -> dict[str, object]:
    """Return one page of the users in the order of their names, and where the next one is."""
    query = read_query()
    limit = query["limit"]
    following = select(User).where(User.username > query["after"]).order_by(User.username)
    users = db.session.scalars(following.limit(limit + 1)).all()
    page, has_next = users[:limit], len(users) > limit
    next_query = urlencode({"limit": limit, "after": page[-1].username}) if has_next else ""
    return {
        "users": [_present(user) for user in page],
        "next": f"{request.script_root}/users?{next_query}" if has_next else None,
    }


@blueprint.post("")
@jwt_required(optional=True)
def add_user() -> tuple[dict[str, object], int]:
    """Add a user, with any roles; or, where that is allowed, let people add themselves."""
    is_manager = bool(get_jwt())
    if is_manager and SCOPE not in verified_claims().scopes:
        raise InsufficientScope(SCOPE)
    if not is_manager and not current_settings().self_registration:
        raise Unauthorized
    body = read_body()
    roles = body.get("roles", [DEFAULT_ROLE])
    if not is_manager and roles != [DEFAULT_ROLE]:
        raise InsufficientScope(SCOPE)
    user = create_user(body["username"], body["password"], roles)
    db.session.commit()
    return _present(user), 201


@blueprint.get("/<uuid:user_id>")
@jwt_required()
@require_scope(SCOPE)
def read_user(user_id: uuid.UUID) -> dict[str, object]:
    """Return one user."""
    return _present(_find_user(user_id))


@blueprint.patch("/<uuid:user_id>")
@jwt_required()
@require_scope(SCOPE)
def change_user(user_id: uuid.UUID) -> dict[str, object]:
    """Set roles, disable or enable a user: the members that are given (RFC 7396)."""
    user, body = _find_user(user_id), read_body()
    if "roles" in body:
        set_roles(user, body["roles"])
    if "is_disabled" in body:
        set_disabled(user, body["is_disabled"])
    db.session.commit()
    set_pending_bits()
    return _present(user)


def _current_session() -> tuple[Session, User]:
    session = find_live_session(verified_claims().session_id)
    if session is None or session.user is None:  # it has ended this moment, or is a client's own
        raise InvalidToken
    return session, session.user


def _find_user(user_id: uuid.UUID) -> User:
    user = db.session.get(User, user_id)
    if user is None:
        raise NotFound
    return user


def _present(user: User) -> dict[str, object]:
    return {
        "id": str(user.id),
        "username": user.username,
        "roles": user.roles,
        "is_disabled": user.is_disabled,
        "last_login_at": user.last_login_at,
    }
