"""docs/how-to/users-and-roles.md agrees with the code about roles, commands and passwords."""

import re

from auth_app.accounts.password_rules import MAXIMUM_LENGTH, MINIMUM_LENGTH
from auth_app.accounts.roles import DEFAULT_ROLE, ROLES
from auth_app.cli import users
from auth_app.cli.demo import DEMO_USERS
from tests.servers import ROOT

PAGE = (ROOT / "docs/how-to/users-and-roles.md").read_text()
TEXT = PAGE.replace("\n", " ")


def test_page_names_every_role_with_its_scopes_and_every_demo_user() -> None:
    rows = dict(re.findall(r"^\| (\w+) \| ((?:`[a-z]+:[a-z]+` ?)+) \|$", PAGE, re.MULTILINE))

    assert {role: set(scopes.replace("`", "").split()) for role, scopes in rows.items()} == ROLES
    assert set(re.findall(r"`(\w+1)` / `(password\d+)`", PAGE)) == {
        (username, password) for username, (password, _) in DEMO_USERS.items()
    }
    assert f"with the role `{DEFAULT_ROLE}`" in TEXT


def test_page_names_every_command() -> None:
    table = PAGE.partition("| Task | Command")[2].partition("\n\n")[0]

    assert {
        words.split()[0] for words in re.findall(r"`([a-z][\w-]* ?[^`]*)`", table.partition("|---")[2])
    } == set(users.group.commands)


def test_page_states_the_password_length_limits() -> None:
    assert f"has {MINIMUM_LENGTH} to {MAXIMUM_LENGTH} characters" in TEXT
