"""Serve `/login`: the sign-in page, which starts a browser session for all applications."""

import re
from urllib.parse import parse_qs

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response
from werkzeug.exceptions import UnsupportedMediaType

from auth_app import audit
from auth_app.accounts.browser_sessions import start_browser_session
from auth_app.accounts.clients import find_client
from auth_app.accounts.known_addresses import remember_address, remember_browser
from auth_app.accounts.redirect_uris import form_action_sources, is_registered
from auth_app.accounts.sessions import claim_user
from auth_app.accounts.users import authenticate_user
from auth_app.database import db
from auth_app.errors import InvalidGrant, TooManyAttempts
from auth_app.metrics import LOGINS
from auth_app.models import Client, User
from auth_app.pages.browsers import (
    browser_cookie,
    current_browser_session,
    is_own_form,
    keep_browser,
    keep_session,
    last_browser_session,
    read_session_again,
)
from auth_app.pages.rendering import format_text, own_path, render_page, show_errors_as_pages
from shared.bodies import decode_form
from shared.errors import Unavailable

blueprint = Blueprint("sign_in", __name__)
show_errors_as_pages(blueprint)

# A sign-in may only continue at these pages of this server: anything else would be an open redirect.
_ACCOUNT = "/account"
_CONTINUE = re.compile(r"/account|/authorize\?[\x21-\x7e]*")

MAXIMUM_USERNAME, MAXIMUM_PASSWORD = 128, 1024  # characters, as at `/token`


@blueprint.get("/login")
def show_login() -> Response:
    """Show the sign-in page, or redirect a user who is signed in to the account page."""
    if current_browser_session():
        return redirect(url_for("account.show_account"), 303)
    return show_sign_in(_ACCOUNT)


@blueprint.post("/login")
def sign_in() -> Response:
    """Sign in with a user name and password, and continue where the user came from."""
    form = read_form()
    continue_to, username = form.get("continue", _ACCOUNT), form.get("username", "")
    if not is_own_form(form.get("form_token", "")):
        return show_sign_in(continue_to, username, "form_expired", 400)
    try:
        user = _authenticate(username, form.get("password", ""))
    except TooManyAttempts as error:
        page = show_sign_in(continue_to, username, "too_many_attempts", 429, seconds=error.seconds)
        page.headers["Retry-After"] = str(error.seconds)
        return page
    except Unavailable:
        return show_sign_in(continue_to, username, "unavailable", 503)
    if user is None:
        return show_sign_in(continue_to, username, "wrong_credentials", 400)
    return _start(user, continue_to)


def show_sign_in(
    continue_to: str, username: str = "", error: str | None = None, status: int = 200, **values: object
) -> Response:
    """Return the sign-in page. `continue_to` is the path, with its query, to continue at afterwards.

    `error` is the name of a text, and `values` are its placeholders.
    """
    continue_to = _check_continue(continue_to)
    client, targets = find_requesting_client(continue_to)
    return render_page(
        "sign_in.html",
        status,
        form_targets=targets,
        continue_to=continue_to,
        application=(client.name or client.id) if client else None,
        username=username[:MAXIMUM_USERNAME],
        fields_invalid=error == "wrong_credentials",
        error=format_text(error, **values) if error else None,
    )


def find_requesting_client(continue_to: str) -> tuple[Client | None, list[str]]:
    """Return the client that a sign-in is for, if any, and the CSP sources that its form may redirect to."""
    query = parse_qs(continue_to.partition("?")[2])
    client = find_client(query.get("client_id", [""])[0])
    uri = query.get("redirect_uri", [""])[0]
    if client is None or not is_registered(uri, client.redirect_uris):
        return None, []
    return client, form_action_sources(uri)


def continue_at(continue_to: str) -> Response:
    """Redirect to a page of this server, or to the account page if `continue_to` is not one."""
    return redirect(own_path(_check_continue(continue_to)), 303)


def read_form() -> dict[str, str]:
    """Return the fields of one of our forms. Raises `InvalidRequest` and `UnsupportedMediaType`."""
    if request.mimetype != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType
    return {name: str(value) for name, value in decode_form(frozenset()).items()}


def _authenticate(username: str, password: str) -> User | None:
    # Refuse impossible values before the expensive hash. PostgreSQL would reject a NUL with an error.
    is_possible = len(username) <= MAXIMUM_USERNAME and len(password) <= MAXIMUM_PASSWORD
    if not is_possible or not username or not password or re.search(r"[\x00-\x1f\x7f]", username):
        return None
    user = authenticate_user(username, password, browser_cookie())
    if user is None:
        return None
    try:
        claim_user(user, password)
    except InvalidGrant:  # the password was changed, or the user disabled, during the verification
        db.session.rollback()
        read_session_again()
        return None
    return user


def _start(user: User, continue_to: str) -> Response:
    session, token = start_browser_session(user, last_browser_session())
    remember_address(user)
    remember_browser(user, browser_cookie())
    audit.record_on_commit("signed_in", actor=user.id, browser=session.id)
    db.session.commit()
    LOGINS.labels("succeeded").inc()
    response = continue_at(continue_to)
    keep_browser(response)
    keep_session(response, token)
    return response


def _check_continue(path: str) -> str:
    return path if _CONTINUE.fullmatch(path) else _ACCOUNT
