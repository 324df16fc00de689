"""Sign people out of everything at once: `/logout` (OpenID Connect RP-Initiated Logout 1.0)."""

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from auth_app.accounts.browser_sessions import lock_browser_session
from auth_app.accounts.clients import find_client
from auth_app.accounts.redirect_uris import is_registered, targets_after
from auth_app.accounts.session_ends import end_browser_session, end_session
from auth_app.accounts.sessions import find_live_session
from auth_app.database import db
from auth_app.models import BrowserSession, Client, Session
from auth_app.oauth.authorization_request import Return, build_redirect
from auth_app.oauth.id_tokens import read_id_token
from auth_app.oauth.parameters import parse_parameters, take_single
from auth_app.pages.browsers import forget_session, is_own_form, last_browser_session
from auth_app.pages.rendering import render_page, show_errors_as_pages
from shared.errors import InvalidRequest

blueprint = Blueprint("logout", __name__)
show_errors_as_pages(blueprint)

_NAMES = ("id_token_hint", "client_id", "post_logout_redirect_uri", "state", "form_token")


@blueprint.get("/logout")
def show_logout() -> Response:
    """Sign out at once if an ID token proves that the application is the user's, else ask first."""
    asked = take_single(parse_parameters(request.query_string.decode("ascii", "replace")), _NAMES)
    hint, client = _find_client(asked)
    to = _find_return(asked, hint, client)
    session = last_browser_session()  # what came of one that has expired may be live
    if hint and _needs_no_question(hint, session):
        return _sign_out(session, hint, to)
    if session is None:
        return _leave(to)
    return render_page(
        "logout.html",
        form_targets=targets_after(to.redirect_uri) if to else [],
        user=session.user,
        application=_name(client),
        members={name: value for name, value in asked.items() if name != "form_token"},
    )


@blueprint.post("/logout")
def log_out() -> Response:
    """Sign out after the page has asked; a form of an application goes on as a GET, with the cookie."""
    body = request.get_data().decode("ascii", "replace")
    asked = take_single(parse_parameters(body), _NAMES)
    if "form_token" not in asked:
        return redirect(f"{url_for('.show_logout')}?{urlencode(asked)}", 303)
    hint, client = _find_client(asked)
    to = _find_return(asked, hint, client)
    if not is_own_form(asked.pop("form_token")):
        return redirect(f"{url_for('.show_logout')}?{urlencode(asked)}", 303)
    return _sign_out(last_browser_session(), hint, to)


@blueprint.get("/signed-out")
def show_signed_out() -> Response:
    """Say that nobody is signed in."""
    return render_page("signed_out.html")


def _find_client(asked: dict[str, str]) -> tuple[dict[str, Any] | None, Client | None]:
    """Return the claims of the ID token, if there is a good one, and the client. Raises `InvalidRequest`."""
    client_id = asked.get("client_id")
    hint = read_id_token(asked["id_token_hint"]) if "id_token_hint" in asked else None
    if hint:
        if client_id not in {None, hint["aud"]}:
            raise InvalidRequest("The id_token_hint was not issued to the client in client_id.")
        client_id = hint["aud"]
    return hint, find_client(client_id) if client_id else None


def _find_return(asked: dict[str, str], hint: dict[str, Any] | None, client: Client | None) -> Return | None:
    """Return where the browser goes in the end, None if it stays. Raises `InvalidRequest`."""
    uri = asked.get("post_logout_redirect_uri")
    # A hint that cannot be verified any more, such as by a key that is gone, proves nothing: the page asks.
    if uri is None or ("id_token_hint" in asked and hint is None):
        return None
    if client is None:
        raise InvalidRequest("A post_logout_redirect_uri needs an id_token_hint or a client_id.")
    if not is_registered(uri, client.post_logout_redirect_uris):
        raise InvalidRequest("The post_logout_redirect_uri is not registered for this client.")
    return Return(uri, asked.get("state"), "query")


def _needs_no_question(hint: dict[str, Any], session: BrowserSession | None) -> bool:
    """Tell whether an ID token is of whoever was last signed in here, if anybody was."""
    return session is None or hint["sub"] == str(session.user_id)


def _sign_out(session: BrowserSession | None, hint: dict[str, Any] | None, to: Return | None) -> Response:
    login = _find_login(hint) if hint else None
    if session:
        logins = [login.id] if login and login.user_id == session.user_id else []
        end_browser_session(session.id, session.user_id, *logins)
    elif login:
        _end_login(login)
    db.session.commit()
    response = _leave(to)
    forget_session(response)
    return response


def _find_login(hint: dict[str, Any]) -> Session | None:
    """Return the login that an ID token is about."""
    login = find_live_session(hint["sid"])
    is_same = login and login.client_id == hint["aud"] and str(login.user_id) == hint["sub"]
    return login if is_same else None


def _end_login(login: Session) -> None:
    """End a login that is proven by its ID token, in a browser in which nobody is signed in.

    The others that came of the same browser session end too, unless that is live, in another browser.
    """
    browser_id, user_id = login.browser_session_id, login.user_id
    if browser_id and user_id and lock_browser_session(browser_id) is None:
        end_browser_session(browser_id, user_id, login.id)
    else:
        end_session(login.id, user=user_id, client=login.client_id)


def _leave(to: Return | None) -> Response:
    if to is None:
        return redirect(url_for(".show_signed_out"), 303)
    return redirect(build_redirect(to, {"state": to.state} if to.state is not None else {}), 303)


def _name(client: Client | None) -> str | None:
    return (client.name or client.id) if client else None
