"""The programs of docs/how-to/sign-in.md sign users in, next to both services under gunicorn."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from flask import request
from jwt.algorithms import RSAAlgorithm

from auth_app.pages.texts import TEXTS
from auth_app.settings import AuthSettings
from tests.applications import register_client
from tests.docs.page_programs import Programs, adapt, load, serve_here
from tests.form_browser import FormBrowser
from tests.servers import PATIENCE, ROOT, Pair, environment_for

PROGRAMS = Programs("docs/how-to/sign-in.md")
PAGE, FILES = PROGRAMS.text, PROGRAMS.files
COMMANDS = re.findall(r"^\S+flask .* clients add (.*?)(?: \|.*)?$", PAGE.replace("\\\n ", ""), re.MULTILINE)
OPTIONS = {name: options for name, *options in map(shlex.split, COMMANDS)}

# A substitute for a browser, which signs in at the URL in its argument.
BROWSER = "import sys; from tests.form_browser import FormBrowser; FormBrowser().sign_in(sys.argv[1])"


def register(pair: Pair, name: str) -> str | None:
    """Register a client as the page does, and return its secret if it has one."""
    options = [adapt(option, pair) for option in OPTIONS[name]]
    if "--name" in options:
        del options[options.index("--name") : options.index("--name") + 2]
    return register_client(pair, name, *options)


@pytest.fixture(scope="module")
def secret(pair: Pair) -> str:
    return str(register(pair, "web"))


@pytest.fixture
def web(pair: Pair, secret: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The web application's module."""
    monkeypatch.setenv("FLASK_CLIENT_SECRET", secret)
    monkeypatch.setenv("FLASK_SECRET_KEY", "only for this test")
    return load(adapt(FILES["web.py"], pair))


def test_web_application_signs_users_in(web: ModuleType) -> None:
    with serve_here(web.app) as url:
        assert FormBrowser().sign_in(f"{url}/login").text == "Hello student1"


def test_readme_registers_the_application_with_the_same_arguments() -> None:
    (call,) = re.findall(r"register\(.*?\n(.*?\n)\)", (ROOT / "README.md").read_text(), re.DOTALL)

    assert f"register(\n{call})" in FILES["web.py"]


def test_web_application_calls_a_service_checks_silently_and_signs_out(web: ModuleType, pair: Pair) -> None:
    """Run the lines that later sections add, each in its own view."""
    names = vars(web)

    def finish() -> str:
        if error := request.args.get("error"):
            return error
        names["token"] = web.auth.authorize_access_token()
        exec(adapt(PROGRAMS.find_block("python", "/courses"), pair), names)  # noqa: S102
        return str(names["courses"].json()["courses"][0]["title"])

    web.app.view_functions["callback"] = finish
    web.app.add_url_rule("/", "home", lambda: "home")
    for path, text in {"/silent": "prompt=", "/sign-out": "logout_redirect"}.items():
        web.app.add_url_rule(path, path, lambda text=text: eval(PROGRAMS.find_block("python", text), names))  # noqa: S307
    browser = FormBrowser()
    with serve_here(web.app) as url:
        assert browser.open(f"{url}/silent").text == "login_required"
        assert browser.sign_in(f"{url}/login").text == "Public-key cryptography"
        assert browser.open(f"{url}/silent").text == "Public-key cryptography"
        assert browser.open(f"{url}/sign-out").text == "home"
        assert browser.open(f"{url}/silent").text == "login_required"


def test_web_application_can_authenticate_with_a_signed_assertion(
    web: ModuleType, pair: Pair, tmp_path: Path
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    keys = [RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": "one"}]
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": keys}))
    (tmp_path / "client_key.pem").write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    options = ("--redirect-uri", "http://127.0.0.1/callback", "--jwks", str(tmp_path / "jwks.json"))
    register_client(pair, "ledger", *options, "--scope", "courses:read")
    block = adapt(PROGRAMS.find_block("python", "PrivateKeyJWT"), pair)

    exec(block.replace("client_key.pem", str(tmp_path / "client_key.pem")), vars(web))  # noqa: S102

    with serve_here(web.app) as url:
        assert FormBrowser().sign_in(f"{url}/login").text == "Hello student1"


def test_command_line_tool_lists_courses(pair: Pair, tmp_path: Path) -> None:
    register(pair, "courses-cli")
    (tmp_path / "courses.py").write_text(adapt(FILES["courses.py"], pair))
    (tmp_path / "browser.py").write_text(BROWSER)

    done = subprocess.run(
        [sys.executable, "courses.py"],
        cwd=tmp_path,
        env=environment_for({"BROWSER": f"{sys.executable} {tmp_path}/browser.py %s &"}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )

    assert done.stdout.startswith("Public-key cryptography\n"), done


def test_single_page_application_settings_match_the_example() -> None:
    assert PROGRAMS.find_block("js", "UserManager") in (ROOT / "examples/spa/app.js").read_text()


def test_documented_brand_and_text_settings_are_valid(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for line in FILES["sign-in.env"].splitlines():
        monkeypatch.setenv(*line.split("=", 1))
    monkeypatch.chdir(tmp_path)

    settings = AuthSettings()

    assert settings.brand_name == "Example Ltd"
    assert json.loads(FILES["texts.json"]).keys() <= TEXTS.keys()


def test_page_names_every_sign_in_setting() -> None:
    of_sign_in = re.compile("browser_|brand_|page_|password_grant")
    for name in filter(of_sign_in.match, AuthSettings.model_fields):
        assert name.upper() in PAGE


def test_page_registers_each_kind_of_client() -> None:
    public = {name for name, options in OPTIONS.items() if "--public" in options}

    assert set(OPTIONS) == {"web", "my-spa", "phone", "courses-cli", "docs"}
    assert public == set(OPTIONS) - {"web"}
