"""Serve `/users`: users change their own password, administrators (`users:manage`) manage all users."""

import json
import uuid
from urllib.parse import urlencode

from flask import Blueprint, Response, jsonify, request
from flask_jwt_extended import get_jwt, jwt_required
from sqlalchemy import select
from werkzeug.exceptions import NotFound, PreconditionRequired
from werkzeug.http import generate_etag

from auth_app.accounts.roles import DEFAULT_ROLE
from auth_app.accounts.session_ends import set_pending_bits
from auth_app.accounts.sessions import find_session_of, lock_holder
from auth_app.accounts.usernames import normalise_username
from auth_app.accounts.users import change_password, change_user, create_user, delete_user, reset_password
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.errors import OwnAccount, UserChanged
from auth_app.models import Session, User
from flask_resource_server import (
    InsufficientScope,
    InvalidToken,
    current_scopes,
    current_subject,
    current_token,
    require_scope,
)
from flask_resource_server.errors import Unauthorized
from shared.contract import read_body, read_query

blueprint = Blueprint("users", __name__, url_prefix="/users")

SCOPE = "users:manage"


@blueprint.get("/me")
@jwt_required()
def read_me() -> dict[str, object]:
    """Return the user whom the token belongs to."""
    return _present_own(_current_session()[1])


@blueprint.put("/me/password")
@jwt_required()
def change_own_password() -> tuple[str, int]:
    """Change the user's own password, and end all other sessions."""
    (session, user), body = _current_session(), read_body()
    change_password(user, session, body["current_password"], body["new_password"])
    db.session.commit()
    set_pending_bits()
    return "", 204


@blueprint.get("")
@jwt_required()
@require_scope(SCOPE)
def list_users() -> dict[str, object]:
    """Return one page of the users, ordered by user name, and the URL of the next page."""
    query = read_query()
    limit = query["limit"]
    after = normalise_username(query["after"])
    present = select(User).where(User.username > after, User.deleted_at.is_(None))
    users = db.session.scalars(present.order_by(User.username).limit(limit + 1)).all()
    page, has_next = users[:limit], len(users) > limit
    next_query = urlencode({"limit": limit, "after": page[-1].username}) if has_next else ""
    return {
        "users": [_present(user) for user in page],
        "next": f"{request.script_root}/users?{next_query}" if has_next else None,
    }


@blueprint.post("")
@jwt_required(optional=True)
def add_user() -> Response:
    """Add a user with any roles as an administrator, or register oneself if SELF_REGISTRATION is on."""
    is_manager = current_token() is not None
    if is_manager and SCOPE not in current_scopes():
        raise InsufficientScope(SCOPE)
    if not is_manager and not current_settings().self_registration:
        raise Unauthorized
    body = {"roles": [DEFAULT_ROLE], **read_body()}
    # Users who register themselves may give an email address, but not claim that it is verified.
    if not is_manager and (body["roles"] != [DEFAULT_ROLE] or body.get("email_verified")):
        raise InsufficientScope(SCOPE)
    user = create_user(**body)
    if is_manager:
        _confirm_permission()
    db.session.commit()
    response = _show(user)
    response.status_code = 201
    return response


@blueprint.get("/<uuid:user_id>")
@jwt_required()
@require_scope(SCOPE)
def read_user(user_id: uuid.UUID) -> Response:
    """Return one user."""
    return _show(_find_user(user_id))


@blueprint.patch("/<uuid:user_id>")
@jwt_required()
@require_scope(SCOPE)
def edit_user(user_id: uuid.UUID) -> Response:
    """Change the given members of a user (RFC 7396)."""
    user = _find_to_change(user_id)
    change_user(user, **read_body())
    _confirm_permission()
    response = _show(user)
    db.session.commit()
    set_pending_bits()
    return response


@blueprint.delete("/<uuid:user_id>")
@jwt_required()
@require_scope(SCOPE)
def remove_user(user_id: uuid.UUID) -> tuple[str, int]:
    """Delete a user, and end all of the user's sessions."""
    delete_user(_find_to_change(user_id))
    _confirm_permission()
    db.session.commit()
    set_pending_bits()
    return "", 204


@blueprint.put("/<uuid:user_id>/password")
@jwt_required()
@require_scope(SCOPE)
def reset_user_password(user_id: uuid.UUID) -> tuple[str, int]:
    """Set a temporary password, which the user must change at the next login, and end all sessions."""
    reset_password(_find_other(user_id), read_body()["new_password"], must_change=True)
    _confirm_permission()
    db.session.commit()
    set_pending_bits()
    return "", 204


def _confirm_permission() -> None:
    """Check again, in the transaction that writes, that the caller may manage users.

    The first check was made when the request began, and the caller may have lost the permission while a
    password was hashed. The caller's row stays locked until the commit. Raises `InvalidToken` and
    `InsufficientScope`.
    """
    lock_holder(get_jwt())
    if find_session_of(get_jwt()) is None:
        raise InvalidToken
    if SCOPE not in current_scopes():
        raise InsufficientScope(SCOPE)


def _current_session() -> tuple[Session, User]:
    session = find_session_of(get_jwt())
    if session is None or session.user is None:  # it has just ended, or the token is a client's own
        raise InvalidToken
    return session, session.user


def _find_user(user_id: uuid.UUID) -> User:
    user = db.session.get(User, user_id)
    if user is None or user.deleted_at is not None:
        raise NotFound
    return user


def _find_other(user_id: uuid.UUID) -> User:
    """Return a user. Raises `OwnAccount` for the one whose token the request carries, and `NotFound`."""
    if str(user_id) == current_subject():
        raise OwnAccount
    return _find_user(user_id)


def _find_to_change(user_id: uuid.UUID) -> User:
    """Return another user, if the request's If-Match names the user's current ETag (RFC 9110 13.1.1).

    Raises `OwnAccount`, `NotFound`, `PreconditionRequired` and `UserChanged`.
    """
    user = _find_other(user_id)
    if not request.if_match:
        raise PreconditionRequired
    if not request.if_match.contains(_tag(user)):
        raise UserChanged
    return user


def _show(user: User) -> Response:
    response = jsonify(_present(user))
    response.set_etag(_tag(user))
    return response


def _tag(user: User) -> str:
    # Leave out the last login, so that a login does not make an administrator's change fail. Include the
    # other members beside the version, because the same version can be assigned twice after a failover.
    shown = {**_present(user), "last_login_at": None}
    return generate_etag(json.dumps([*shown.values(), user.version]).encode())


def _present(user: User) -> dict[str, object]:
    return {
        **_present_own(user),
        "name": user.name,
        "email": user.email,
        "email_verified": user.email_verified,
        "updated_at": user.updated_at,
    }


def _present_own(user: User) -> dict[str, object]:
    """Return the members that any token of the user may read. Name and email need a scope, at `/userinfo`."""
    return {
        "id": str(user.id),
        "username": user.username,
        "roles": user.roles,
        "is_disabled": user.is_disabled,
        "must_change_password": user.must_change_password,
        "last_login_at": user.last_login_at,
    }
