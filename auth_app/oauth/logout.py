"""Serve `/logout`: sign the user out of the browser and all its logins (RP-Initiated Logout 1.0)."""

from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from auth_app.accounts.browser_sessions import lock_browser_session
from auth_app.accounts.clients import find_client
from auth_app.accounts.redirect_uris import form_action_sources, is_registered
from auth_app.accounts.session_ends import end_browser_session, end_session
from auth_app.accounts.sessions import find_live_session
from auth_app.database import db
from auth_app.models import BrowserSession, Client, Session
from auth_app.oauth.authorization_request import RedirectTarget, build_redirect
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
    """Sign out at once if `id_token_hint` is the current user's, otherwise ask the user first."""
    asked = take_single(parse_parameters(request.query_string.decode("ascii", "replace")), _NAMES)
    hint, client = _find_client(asked)
    target = _find_target(asked, hint, client)
    session = last_browser_session()  # even if expired, because its logins may be live
    if hint and _needs_no_question(hint, session):
        return _sign_out(session, hint, target)
    if session is None:
        return _leave(target)
    return render_page(
        "logout.html",
        form_targets=form_action_sources(target.redirect_uri) if target else [],
        user=session.user,
        application=_name(client),
        members={name: value for name, value in asked.items() if name != "form_token"},
    )


@blueprint.post("/logout")
def log_out() -> Response:
    """Sign out after the user has confirmed. An application's form is redirected to the same GET."""
    body = request.get_data().decode("ascii", "replace")
    asked = take_single(parse_parameters(body), _NAMES)
    if "form_token" not in asked:
        return redirect(f"{url_for('.show_logout')}?{urlencode(asked)}", 303)
    hint, client = _find_client(asked)
    target = _find_target(asked, hint, client)
    if not is_own_form(asked.pop("form_token")):
        return redirect(f"{url_for('.show_logout')}?{urlencode(asked)}", 303)
    return _sign_out(last_browser_session(), hint, target)


@blueprint.get("/signed-out")
def show_signed_out() -> Response:
    """Show the page that confirms the sign-out."""
    return render_page("signed_out.html")


def _find_client(asked: dict[str, str]) -> tuple[dict[str, Any] | None, Client | None]:
    """Return the claims of a valid `id_token_hint` and the client, or None. Raises `InvalidRequest`."""
    client_id = asked.get("client_id")
    hint = read_id_token(asked["id_token_hint"]) if "id_token_hint" in asked else None
    if hint:
        if client_id not in {None, hint["aud"]}:
            raise InvalidRequest("The id_token_hint was not issued to the client in client_id.")
        client_id = hint["aud"]
    return hint, find_client(client_id) if client_id else None


def _find_target(
    asked: dict[str, str], hint: dict[str, Any] | None, client: Client | None
) -> RedirectTarget | None:
    """Return where the browser goes after the sign-out, None for our own page. Raises `InvalidRequest`."""
    uri = asked.get("post_logout_redirect_uri")
    # A hint that can no longer be verified, for example because its key is gone, proves nothing.
    if uri is None or ("id_token_hint" in asked and hint is None):
        return None
    if client is None:
        raise InvalidRequest("A post_logout_redirect_uri needs an id_token_hint or a client_id.")
    if not is_registered(uri, client.post_logout_redirect_uris):
        raise InvalidRequest("The post_logout_redirect_uri is not registered for this client.")
    return RedirectTarget(uri, asked.get("state"), "query")


def _needs_no_question(hint: dict[str, Any], session: BrowserSession | None) -> bool:
    """Return whether an ID token belongs to the user last signed in to this browser, or there is none."""
    return session is None or hint["sub"] == str(session.user_id)


def _sign_out(
    session: BrowserSession | None, hint: dict[str, Any] | None, target: RedirectTarget | None
) -> Response:
    login = _find_login(hint) if hint else None
    if session:
        logins = [login.id] if login and login.user_id == session.user_id else []
        end_browser_session(session.id, session.user_id, *logins)
    elif login:
        _end_login(login)
    db.session.commit()
    response = _leave(target)
    forget_session(response)
    return response


def _find_login(hint: dict[str, Any]) -> Session | None:
    """Return the live login that an ID token was issued for, or None."""
    login = find_live_session(hint["sid"])
    is_same = login and login.client_id == hint["aud"] and str(login.user_id) == hint["sub"]
    return login if is_same else None


def _end_login(login: Session) -> None:
    """End the login of an ID token that was sent from a browser in which nobody is signed in.

    Also end the other logins of its browser session, unless that session is live in another browser.
    """
    browser_id, user_id = login.browser_session_id, login.user_id
    if browser_id and user_id and lock_browser_session(browser_id) is None:
        end_browser_session(browser_id, user_id, login.id)
    else:
        end_session(login.id, user=user_id, client=login.client_id)


def _leave(target: RedirectTarget | None) -> Response:
    if target is None:
        return redirect(url_for(".show_signed_out"), 303)
    return redirect(build_redirect(target, {"state": target.state} if target.state is not None else {}), 303)


def _name(client: Client | None) -> str | None:
    return (client.name or client.id) if client else None
