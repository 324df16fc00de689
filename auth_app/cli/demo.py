"""Add the users and the client of the documentation: `flask --app wsgi_auth demo-data`."""

import click
from flask.cli import with_appcontext

from auth_app.accounts.clients import NONE, add_client, find_client
from auth_app.accounts.passwords import hash_password
from auth_app.accounts.users import add_user, find_user
from auth_app.database import db
from auth_app.models import FIRST_PARTY

# Their passwords break the rules for new ones, so that nobody takes them for more than they are.
DEMO_USERS = {
    "student1": ("password123", "student"),
    "teacher1": ("password456", "teacher"),
    "admin1": ("password789", "admin"),
}


@click.command("demo-data")
@with_appcontext
def add_demo_users() -> None:
    """Add the demo users and the first-party client, unless they are there. Not for production.

    Everybody knows the passwords.
    """
    for username, (password, role) in DEMO_USERS.items():
        if find_user(username) is None:
            add_user(username, hash_password(password), [role])
    if find_client(FIRST_PARTY) is None:
        grants = ["password", "refresh_token"]
        add_client(FIRST_PARTY, NONE, grant_types=grants, name="First-party applications")
    db.session.commit()
