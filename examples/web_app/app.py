"""A web application whose users sign in at `auth_app` and read their courses from `course_app`."""

import os
import secrets

from authlib.integrations.flask_client import OAuth, OAuthError
from flask import Flask, redirect, render_template, session, url_for
from werkzeug import Response

COURSES = os.environ["COURSES_URL"]

app = Flask(__name__)
app.config["SECRET_KEY"] = os.environ.get("SECRET_KEY") or secrets.token_hex()
# Cookies ignore the port: with Flask's default name, another application on this host would overwrite it.
app.config["SESSION_COOKIE_NAME"] = "courses_session"
app.config["SESSION_COOKIE_SAMESITE"] = "Lax"
auth = OAuth(app).register(
    "auth",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ.get("CLIENT_SECRET"),
    server_metadata_url=f"{os.environ['OAUTH_ISSUER']}/.well-known/openid-configuration",
    client_kwargs={
        "scope": "openid profile courses:read",
        "code_challenge_method": "S256",
        "default_timeout": 10,
    },
)
# Tokens stay in this process; the browser's cookie contains only the key of this dictionary.
logins: dict[str, dict[str, object]] = {}


@app.get("/")
def show_courses() -> str:
    """Show the courses of the signed-in user."""
    login = logins.get(session.get("login", ""))
    if login is None:
        return render_template("courses.html")
    response = auth.get(f"{COURSES}/courses", token=login)
    if response.status_code == 401:  # the token has expired, or the user has signed out elsewhere
        logins.pop(session.pop("login"), None)
        return render_template("courses.html", problem="Your sign-in has ended.")
    response.raise_for_status()
    return render_template("courses.html", user=login["userinfo"], courses=response.json()["courses"])


@app.get("/sign-in")
def sign_in() -> Response:
    """Redirect to `auth_app`, which asks for a password unless the user has already signed in there."""
    response: Response = auth.authorize_redirect(url_for("finish_sign_in", _external=True))
    return response


@app.get("/callback")
def finish_sign_in() -> Response:
    """Exchange the code for tokens. Authlib verifies `state`, the ID token and its `nonce`."""
    token = auth.authorize_access_token()
    token["userinfo"] = auth.userinfo(token=token)
    session.clear()
    session["login"] = secrets.token_urlsafe()
    logins[session["login"]] = token
    return redirect(url_for("show_courses"))


@app.post("/sign-out")
def sign_out() -> Response:
    """Sign out here and, through `auth_app`, of every other application."""
    login = logins.pop(session.get("login", ""), {})
    session.clear()
    home = url_for("show_courses", _external=True)
    # With the client ID, `auth_app` redirects back here even if this process no longer has the ID token.
    response: Response = auth.logout_redirect(home, login.get("id_token"), client_id=auth.client_id)
    return response


@app.errorhandler(OAuthError)
def show_refusal(error: OAuthError) -> tuple[str, int]:
    """Show why a sign-in failed (it may have been started in another browser), and offer to try again."""
    return render_template("courses.html", problem=f"You could not be signed in: {error.description}"), 400
