"""Serve `/account`: users see their profile and sign-ins, change their password and sign out elsewhere."""

import uuid

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from auth_app.accounts.session_ends import (
    end_browser_session,
    end_session,
    end_user_sessions,
    set_pending_bits,
)
from auth_app.accounts.users import change_password
from auth_app.database import db
from auth_app.errors import InvalidPassword, TooManyAttempts
from auth_app.models import BrowserSession, Session
from auth_app.pages.active_sign_ins import list_sign_ins
from auth_app.pages.browsers import (
    browser_cookie,
    current_browser_session,
    forget_session,
    is_own_form,
    read_session_again,
)
from auth_app.pages.rendering import format_text, render_page, show_errors_as_pages
from auth_app.pages.sign_in import (
    MAXIMUM_PASSWORD,
    continue_at,
    find_requesting_client,
    read_form,
    show_sign_in,
)
from flask_resource_server import InvalidToken
from shared.errors import Unavailable

blueprint = Blueprint("account", __name__, url_prefix="/account")
show_errors_as_pages(blueprint)

# The names of the texts that the page may show after an action, from its query parameter `done`.
_NOTICES = {"password_changed", "signed_out_others", "sign_in_ended"}


@blueprint.get("")
def show_account() -> Response:
    """Show the user's profile, and where the user is signed in."""
    session = current_browser_session()
    if session is None:
        return show_sign_in("/account")
    if session.user.must_change_password:
        return show_password_page("/account")
    notice = request.args.get("done", "")
    return render_page(
        "account.html",
        user=session.user,
        sign_ins=list_sign_ins(session),
        notice=format_text(notice) if notice in _NOTICES else None,
    )


@blueprint.get("/password")
def show_password() -> Response:
    """Show the form to change the password."""
    return show_password_page("/account")


@blueprint.post("/password")
def change_own_password() -> Response:
    """Change the password, end all other sign-ins, and continue where the user came from."""
    form, session = read_form(), current_browser_session()
    continue_to = form.get("continue", "/account")
    if session is None:
        return show_sign_in(continue_to)
    if not is_own_form(form.get("form_token", "")):
        return show_password_page(continue_to, "form_expired")
    new = form.get("new_password", "")[:MAXIMUM_PASSWORD]
    if new != form.get("repeated_password", "")[:MAXIMUM_PASSWORD]:
        return show_password_page(continue_to, "passwords_differ", field="repeated_password")
    old = form.get("current_password", "")[:MAXIMUM_PASSWORD]
    try:
        change_password(session.user, session, old, new, browser_cookie())
    except InvalidPassword as error:
        db.session.rollback()
        read_session_again()  # a change that was made at the same time may have ended it
        field = "current_password" if error.text == "wrong_password" else "new_password"
        return show_password_page(continue_to, error.text, field=field)
    except TooManyAttempts as error:
        read_session_again()
        page = show_password_page(continue_to, "too_many_attempts", 429, seconds=error.seconds)
        page.headers["Retry-After"] = str(error.seconds)
        return page
    except Unavailable:
        return show_password_page(continue_to, "unavailable", 503)
    except InvalidToken:  # the browser session was ended elsewhere in the meantime
        db.session.rollback()
        read_session_again()
        return show_sign_in(continue_to)
    db.session.commit()
    set_pending_bits()
    if continue_to == "/account":
        return _done("password_changed")
    return continue_at(continue_to)


@blueprint.post("/end")
def end_sign_in() -> Response:
    """End one of the user's sign-ins, or all others."""
    form, session = read_form(), current_browser_session()
    if session is None:
        return show_sign_in("/account")
    if not is_own_form(form.get("form_token", "")):
        return redirect(url_for(".show_account"), 303)
    if "others" in form:
        return _end_others(session)
    kind, _, text = form.get("sign_in", "").partition(":")
    try:
        key = uuid.UUID(text)
    except ValueError:
        return redirect(url_for(".show_account"), 303)
    _end_one(session, kind, key)
    db.session.commit()
    response = (
        _done("sign_in_ended") if key != session.id else redirect(url_for("logout.show_signed_out"), 303)
    )
    if key == session.id:
        forget_session(response)
    return response


def show_password_page(
    continue_to: str, error: str | None = None, status: int = 400, field: str = "", **values: object
) -> Response:
    """Return the form to change the password, the only page for a user who must choose a new one.

    If nobody is signed in any more, return the sign-in page. `continue_to` is the path, with its query, to
    continue at afterwards. `error` is the name of a text about the `field`, and `values` are its
    placeholders.
    """
    session = current_browser_session()
    if session is None:
        return show_sign_in(continue_to)
    _, targets = find_requesting_client(continue_to)
    return render_page(
        "password.html",
        status if error else 200,
        form_targets=targets,
        user=session.user,
        continue_to=continue_to,
        field=field,
        error=format_text(error, **values) if error else None,
    )


def _end_others(session: BrowserSession) -> Response:
    try:
        end_user_sessions(session.user, keep=session)
    except InvalidToken:
        db.session.rollback()
        read_session_again()
        return show_sign_in("/account")
    db.session.commit()
    set_pending_bits()
    return _done("signed_out_others")


def _end_one(current: BrowserSession, kind: str, key: uuid.UUID) -> None:
    """End a sign-in if it belongs to the current user. The caller commits."""
    if kind == "browser":
        browser = db.session.get(BrowserSession, key)
        if browser and browser.user_id == current.user_id:
            end_browser_session(browser.id, browser.user_id)
    else:
        login = db.session.get(Session, key)
        if login and login.user_id == current.user_id:
            end_session(login.id, user=login.user_id, client=login.client_id)


def _done(notice: str) -> Response:
    return redirect(url_for(".show_account", done=notice), 303)
