"""The command `flask explain-token`: which checks a token passes, and how to fix the first that fails."""

import sys
from typing import TYPE_CHECKING

import click
from flask import Flask

from flask_resource_server.exceptions import ConfigurationError, Undetermined
from flask_resource_server.tokens.verifier import Verifier

if TYPE_CHECKING:
    from flask_resource_server.extension import ResourceServer


def init_app(app: Flask, server: "ResourceServer") -> None:
    """Add the command to `app`."""

    def explain_token() -> None:
        try:
            is_accepted = _print_checks(server.verifier, sys.stdin.read().strip())
        except ConfigurationError as error:  # the keys are missing or unusable
            raise click.ClickException(str(error)) from None
        if not is_accepted:
            click.echo("The token is refused.")
            raise SystemExit(1)
        click.echo("The token is accepted. Views may still require scopes; check_claims was not run.")

    description = "Read an access token from standard input and show which checks it passes."
    app.cli.add_command(click.Command("explain-token", callback=explain_token, help=description))


def _print_checks(verifier: Verifier, token: str) -> bool:
    """Print the result of each check, with advice on the first that fails; return whether it passed all."""
    is_accepted = True
    try:
        for name, is_good, advice in verifier.explain(token):
            click.echo(f"{'pass' if is_good else 'FAIL'}  {name}")
            if is_accepted and not is_good:
                click.echo(f"      {advice}")
            is_accepted = is_accepted and is_good
    except Undetermined as error:
        click.echo("FAIL  the remaining checks can be run")
        click.echo(f"      {error}")
        return False
    return is_accepted
