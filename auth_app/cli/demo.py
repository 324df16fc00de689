"""Add the demo users and clients of the documentation: `flask --app wsgi_auth demo-data`."""

import click
from flask.cli import with_appcontext
from flask_migrate import upgrade as upgrade_tables

from auth_app.accounts.clients import NONE, add_client, find_client
from auth_app.accounts.passwords import hash_password
from auth_app.accounts.users import add_user, find_user
from auth_app.cli.console import examples
from auth_app.database import db
from auth_app.models import FIRST_PARTY

# The clients of what scripts/run serves: the example web application, and the docs page of course_app. Their
# redirect URIs match any port, because they are loopback addresses.
DEMO_WEB_APP, DEMO_DOCS = "demo-web-app", "demo-docs"

# The passwords break the rules for new ones, so that nobody mistakes these for real accounts.
DEMO_USERS = {
    "student1": ("password123", "student"),
    "teacher1": ("password456", "teacher"),
    "admin1": ("password789", "admin"),
}


@click.command("demo-data", epilog=examples("demo-data"))
@click.option("--upgrade", is_flag=True, help="Create or upgrade the tables first, as `db upgrade` does.")
@with_appcontext
def add_demo_users(upgrade: bool) -> None:
    """Add the demo users and clients that do not exist yet.

    The users are student1, teacher1 and admin1; the clients are first-party, demo-web-app and demo-docs. Not
    for production: the passwords are public.
    """
    if upgrade:  # migrations commit on their own; running this again completes what is missing
        upgrade_tables()
    for username, (password, role) in DEMO_USERS.items():
        if find_user(username) is None:
            add_user(username, hash_password(password), [role])
    if find_client(FIRST_PARTY) is None:
        grants = ["password", "refresh_token"]
        add_client(FIRST_PARTY, NONE, grant_types=grants, name="First-party applications")
    if find_client(DEMO_WEB_APP) is None:
        _add_web_app()
    if find_client(DEMO_DOCS) is None:
        _add_docs()
    db.session.commit()


def _add_web_app() -> None:
    """Add the client of examples/web_app. It is public, because a published secret would protect nothing."""
    add_client(
        DEMO_WEB_APP,
        NONE,
        name="My courses",
        grant_types=["authorization_code"],
        redirect_uris=["http://127.0.0.1:8088/callback"],
        post_logout_redirect_uris=["http://127.0.0.1:8088/"],
        scopes=["courses:read"],
    )


def _add_docs() -> None:
    """Add the client that the docs page of course_app signs in with."""
    add_client(
        DEMO_DOCS,
        NONE,
        name="Course API docs",
        grant_types=["authorization_code"],
        redirect_uris=["http://127.0.0.1:8082/docs/oauth2-redirect"],
        scopes=["courses:read", "courses:write", "enrolments:write"],
    )
