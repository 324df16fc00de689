"""The commands of the authorization server, one module for each group: `flask --app wsgi_auth ...`."""

from flask import Flask

from auth_app.cli import clients, demo, keys, log, sessions, users


def init_app(app: Flask) -> None:
    """Register the commands with `app`."""
    for command in (clients.group, demo.add_demo_users, keys.group, log.group, sessions.group, users.group):
        app.cli.add_command(command)
