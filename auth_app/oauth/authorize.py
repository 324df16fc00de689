"""Serve `/authorize`: sign the user in and redirect back to the application with a code (RFC 6749 3.1)."""

import time
from collections.abc import Mapping
from urllib.parse import urlencode

from flask import Blueprint, redirect, request, url_for
from werkzeug import Response

from auth_app import audit
from auth_app.accounts.browser_sessions import touch_browser_session
from auth_app.accounts.clients import audience_of_client
from auth_app.accounts.redirect_uris import form_action_sources
from auth_app.current import current_settings
from auth_app.database import db
from auth_app.errors import InvalidTarget
from auth_app.models import BrowserSession, Client
from auth_app.oauth.authorization_codes import Grant, issue_code
from auth_app.oauth.authorization_request import (
    AuthorizationError,
    AuthorizationRequest,
    RedirectTarget,
    build_redirect,
    find_client_and_target,
    read_request,
)
from auth_app.oauth.parameters import Parameters, parse_parameters
from auth_app.oauth.scopes import allowed_scopes, narrow_audience
from auth_app.pages.account import show_password_page
from auth_app.pages.browsers import current_browser_session, read_session_again
from auth_app.pages.rendering import render_page, show_errors_as_pages
from auth_app.pages.sign_in import show_sign_in
from shared.errors import InvalidRequest

blueprint = Blueprint("authorize", __name__)
show_errors_as_pages(blueprint)

# Parameters that a sign-in satisfies. They are dropped from the request that continues after it.
_SATISFIED_BY_SIGN_IN = {"prompt", "max_age"}
_JUST_NOW = 60  # seconds: a younger sign-in is taken for the one that this request has asked for
_LONGEST_URL = 8000  # characters that gunicorn and nginx accept (gunicorn.conf.py)


@blueprint.post("/authorize")
def forward_request() -> Response:
    """Redirect a request that is sent as a form to the same request as a GET (OpenID Connect Core 3.1.2.1).

    A browser does not send the SameSite=Lax session cookie with a form of another site, but with a GET.
    """
    body = request.get_data().decode("ascii", "replace")
    url = f"{url_for('.authorize')}?{urlencode(parse_parameters(body), doseq=True)}"
    if len(url) > _LONGEST_URL:
        raise InvalidRequest("The request is too long.")
    return redirect(url, 303)


@blueprint.get("/authorize")
def authorize() -> Response:
    """Redirect to the client with a code or an error, or show the sign-in page first."""
    parameters = parse_parameters(request.query_string.decode("ascii", "replace"))
    if len(_path_after_sign_in(parameters)) > _LONGEST_URL:
        raise InvalidRequest("The request is too long.")
    client, target = find_client_and_target(parameters)
    try:
        return _answer(read_request(client, target.redirect_uri, parameters), target, parameters)
    except AuthorizationError as error:
        return _redirect_back(client, target, {"error": error.error, "error_description": error.description})


def _answer(asked: AuthorizationRequest, target: RedirectTarget, parameters: Parameters) -> Response:
    session = current_browser_session()
    is_silent = "none" in asked.prompts
    if session and _is_of_another(session, asked):
        # OpenID Connect Core section 3.1.2.1: the user whom the client expects has not signed in.
        raise AuthorizationError("login_required", "The user who signed in is not the one in id_token_hint.")
    if session is None or asked.needs_sign_in or not _is_wanted(session, asked):
        if is_silent:
            raise AuthorizationError("login_required", "The user must sign in.")
        hint = asked.login_hint or (session.user.username if session else "")
        return show_sign_in(_path_after_sign_in(parameters), hint)
    if session.user.must_change_password:
        if is_silent:
            raise AuthorizationError("interaction_required", "The user must choose a new password.")
        return show_password_page(_path_after_sign_in(parameters))
    if not touch_browser_session(session):  # it has just ended
        if is_silent:
            raise AuthorizationError("login_required", "The user must sign in.")
        read_session_again()  # the form must not belong to the session that has ended
        return show_sign_in(_path_after_sign_in(parameters))
    code = issue_code(_grant(asked, session), session)
    audit.record_on_commit("code_issued", actor=session.user_id, client=asked.client.id)
    db.session.commit()
    return _redirect_back(asked.client, target, {"code": code})


def _grant(asked: AuthorizationRequest, session: BrowserSession) -> Grant:
    """Return the grant: the requested scopes and resources that both user and client may have.

    Raises `AuthorizationError` if none are left.
    """
    allowed = allowed_scopes(session.user, asked.client)
    # Ignore unknown scopes (OpenID Connect Core section 3.1.2.1). The token response lists the granted ones.
    scopes = allowed & asked.scopes if asked.scopes is not None else allowed - {"openid", "offline_access"}
    if not scopes:
        raise AuthorizationError(
            "invalid_scope", "None of the requested scopes can be granted to this client for this user."
        )
    try:
        resources = narrow_audience(audience_of_client(asked.client), asked.resources)
    except InvalidTarget as error:  # RFC 8707 section 2
        raise AuthorizationError(error.error, error.description) from None
    return Grant(
        client_id=asked.client.id,
        redirect_uri=asked.redirect_uri,
        code_challenge=asked.code_challenge,
        scope=" ".join(sorted(scopes)),
        resources=resources,
        nonce=asked.nonce,
    )


def _is_of_another(session: BrowserSession, asked: AuthorizationRequest) -> bool:
    """Return whether another user than the one whom the client expects has just signed in."""
    is_new = time.time() - session.authenticated_at < _JUST_NOW
    return is_new and asked.hinted_subject not in {None, str(session.user_id)}


def _is_wanted(session: BrowserSession, asked: AuthorizationRequest) -> bool:
    """Return whether a session belongs to the user whom the client expects, and meets `max_age`."""
    if asked.hinted_subject not in {None, str(session.user_id)}:
        return False
    return asked.max_age is None or time.time() - session.authenticated_at <= asked.max_age


def _path_after_sign_in(parameters: Parameters) -> str:
    """Return the path and query of the same request, without the parameters that a sign-in satisfies."""
    rest = {name: values for name, values in parameters.items() if name not in _SATISFIED_BY_SIGN_IN}
    return f"/authorize?{urlencode(rest, doseq=True)}"


def _redirect_back(client: Client, target: RedirectTarget, members: Mapping[str, str]) -> Response:
    """Send the browser back to the client, by a redirect or by a self-submitting form."""
    state = {"state": target.state} if target.state is not None else {}
    response = {**members, **state, "iss": current_settings().issuer}  # RFC 9207
    if target.mode == "query":
        return redirect(build_redirect(target, response), 303)
    return render_page(
        "form_post.html",
        form_targets=form_action_sources(target.redirect_uri),
        scripts="'self'",
        application=client.name or client.id,
        action=target.redirect_uri,
        members=response,
    )
