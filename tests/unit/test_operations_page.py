"""The commands in docs/how-to/operate.md work, and it has every setting of the sign-in."""

import re
import shlex
from collections.abc import Callable

from tests.conftest import KeyPair, open_auth, run_command
from tests.servers import ROOT

PAGE = (ROOT / "docs/how-to/operate.md").read_text()
REGISTER = PAGE.partition("### Register an application")[2].partition("### ")[0]
COMMANDS = re.findall(r"^flask --app wsgi_auth (.*)$", REGISTER.replace("\\\n", ""), re.MULTILINE)
SERVICE = "https://course.example.com"


def test_commands_register_each_kind_of_application(
    new_database: Callable[[], str], key_pair: KeyPair
) -> None:
    with open_auth(new_database(), key_pair, resources=(SERVICE,)) as auth:
        for command in COMMANDS:
            result = run_command(auth, *shlex.split(command))
            assert result.exit_code == 0, result.output
        listed = run_command(auth, "clients", "list").stdout

    assert len(COMMANDS) == 5
    for method in ("client_secret", "private_key_jwt", "none"):
        assert f" {method} " in listed


def test_settings_of_the_sign_in_are_explained() -> None:
    from auth_app.settings import AuthSettings

    of_sign_in = re.compile("browser_|brand_|page_|password_grant|backchannel_")
    for name in filter(of_sign_in.match, AuthSettings.model_fields):
        assert f"`{name.upper()}`" in PAGE
