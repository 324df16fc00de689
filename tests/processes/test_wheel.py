"""The kit as others install it: a wheel, in its own environment, outside the repository."""

import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from flask_resource_server.tokens.keys import thumbprint
from tests.conftest import KeyPair
from tests.forger import Forger
from tests.servers import ROOT, Pair, call, find_port, serve_pair, wait_for
from tests.token_rows import ACCEPTED, REFUSED, Make

README = (ROOT / "README.md").read_text()
(SERVICE,) = re.findall(r'^```python title="reports.py"\n(.*?)^```', README, re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the kit's wheel, and nothing else from this repository."""

    folder: Path
    wheel: Path

    def run(self, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [self.folder / "bin" / program, *arguments],
            cwd=self.folder,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("stranger")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    uv = [sys.executable, "-m", "uv", "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, str(folder / "venv")], check=True, timeout=120)
    python = ["--python", str(folder / "venv/bin/python")]
    subprocess.run([*uv, "pip", "install", *python, str(wheel), "gunicorn", "mypy"], check=True, timeout=300)
    return Installed(folder / "venv", wheel)


@pytest.fixture(scope="module")
def reports(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Pair]]:
    """The service of the README next to a running auth_app: the URLs of both are its only settings."""
    folder = tmp_path_factory.mktemp("reports")
    (folder / "reports.py").write_text(SERVICE)
    port = find_port()
    url = f"http://127.0.0.1:{port}"
    with serve_pair(folder / "pair", auth_settings={"RESOURCES": url, "STATUS_LIST_TTL": "1"}) as pair:
        process = subprocess.Popen(
            [installed.folder / "bin/gunicorn", "--bind", f"127.0.0.1:{port}", "reports:app"],
            env={"FLASK_OAUTH_ISSUER": pair.auth.url, "FLASK_OAUTH_RESOURCE": url},
            cwd=folder,
        )
        try:
            wait_for(lambda: answers(url))
            yield url, pair
        finally:
            process.terminate()
            process.wait(60)


def answers(url: str) -> bool:
    try:
        return call(f"{url}/reports")[0] == 401
    except OSError:
        return False


@pytest.fixture(scope="module")
def genuine(reports: tuple[str, Pair]) -> Forger:
    """Signs with the key of the running auth_app."""
    url, pair = reports
    key = load_pem_private_key((pair.auth.log.parent / "keys/private_key.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    return Forger(key, thumbprint(key.public_key()), issuer=pair.auth.url, resource=url)


@pytest.fixture(scope="module")
def other(genuine: Forger, other_key_pair: KeyPair) -> Forger:
    return Forger(other_key_pair.private_key, genuine.kid, issuer=genuine.issuer, resource=genuine.resource)


def test_readme_service_has_at_most_ten_lines() -> None:
    assert 1 <= len([line for line in SERVICE.splitlines() if line.strip()]) <= 10


def test_token_from_a_login_is_accepted(reports: tuple[str, Pair]) -> None:
    url, pair = reports
    form = {"username": "student1", "password": "password123"}
    token = call(f"{pair.auth.url}/token", form=form)[1]["access_token"]

    status, answer = call(f"{url}/reports", token)

    assert (status, answer["reports"]) == (200, [])


def test_logout_is_honoured(reports: tuple[str, Pair]) -> None:
    url, pair = reports
    form = {"username": "student1", "password": "password123"}
    token = call(f"{pair.auth.url}/token", form=form)[1]["access_token"]
    assert call(f"{url}/reports", token)[0] == 200
    assert call(f"{pair.auth.url}/revoke", form={"token": token})[0] == 200

    wait_for(lambda: call(f"{url}/reports", token)[0] == 401)


@pytest.mark.parametrize("make", ACCEPTED.values(), ids=ACCEPTED)
def test_good_token_is_accepted(
    make: Make, reports: tuple[str, Pair], genuine: Forger, other: Forger
) -> None:
    answer = call(f"{reports[0]}/reports", make(genuine, other))

    assert answer == (200, {"reports": [], "reader": genuine.subject})


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_bad_token_is_refused(make: Make, reports: tuple[str, Pair], genuine: Forger, other: Forger) -> None:
    status, answer = call(f"{reports[0]}/reports", make(genuine, other) or "malformed")

    assert (status, answer["error"]) == (401, "invalid_token")


def test_token_without_the_scope_is_forbidden(reports: tuple[str, Pair], genuine: Forger) -> None:
    status, answer = call(f"{reports[0]}/reports", genuine.sign(scope="courses:write"))

    assert (status, answer["error"]) == (403, "insufficient_scope")


def test_service_publishes_protected_resource_metadata(reports: tuple[str, Pair]) -> None:
    url, pair = reports
    assert call(f"{url}/.well-known/oauth-protected-resource") == (
        200,
        {
            "resource": url,
            "authorization_servers": [pair.auth.url],
            "scopes_supported": ["courses:read"],
            "bearer_methods_supported": ["header"],
        },
    )


def test_wheel_contains_only_the_kit(installed: Installed) -> None:
    names = zipfile.ZipFile(installed.wheel).namelist()

    assert {name.partition("/")[0] for name in names} == {
        "flask_resource_server",
        f"{installed.wheel.name.removesuffix('-py3-none-any.whl')}.dist-info",
    }
    assert "flask_resource_server/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_kit_does_not_install_the_services_or_their_dependencies(installed: Installed) -> None:
    look = "import importlib.util as u; print([n for n in {} if u.find_spec(n)])"
    absent = [
        "sqlalchemy",
        "prometheus_client",
        "flasgger",
        "jsonschema",
        "jsonschema_rs",
        "pydantic",
        "auth_app",
        "shared",
    ]

    assert installed.run("python", "-c", look.format(absent)) == "[]\n"


def test_type_checkers_see_the_types_of_the_kit(installed: Installed, tmp_path: Path) -> None:
    (tmp_path / "typed.py").write_text(
        "from flask_resource_server import current_token, require_scope\n\n\n"
        '@require_scope("a", mode="any")\n'
        "def view(number: int) -> str:\n"
        "    token = current_token()\n"
        '    return token.subject if token else ""\n\n\n'
        "reveal_type(view)\n"
        "reveal_type(current_token())\n"
    )

    said = installed.run("mypy", "--strict", str(tmp_path / "typed.py"))

    assert 'Revealed type is "def (number: int) -> str"' in said.replace("builtins.", "")
    assert "VerifiedClaims | None" in said or "Union[" in said


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clone") / "repository"
    subprocess.run(["git", "clone", "--quiet", f"file://{ROOT}", str(folder)], check=True, timeout=120)
    return folder


KIT = (ROOT / "docs/how-to/protect-a-service.md").read_text()
REQUIREMENTS = {
    "README.md": re.findall(r'^pip install "(.*?)"$', README, re.MULTILINE),
    "docs/how-to/protect-a-service.md": re.findall(r'^pip install "(.*?)"$', KIT, re.MULTILINE),
    "a requirements file": ["flask-resource-server @ git+file://$PWD"],
}


@pytest.mark.parametrize("installer", [["pip"], ["uv", "pip"]], ids=" ".join)
@pytest.mark.parametrize("requirements", REQUIREMENTS.values(), ids=REQUIREMENTS)
def test_kit_can_be_installed_from_the_documented_addresses(
    requirements: list[str], installer: list[str], clone: Path, tmp_path: Path
) -> None:
    (requirement,) = requirements
    for placeholder in ("$PWD", "/path/to/a/clone/of/this/repository"):
        requirement = requirement.replace(placeholder, str(clone))
    assert str(clone) in requirement
    install = [sys.executable, "-m", *installer, "install", "--quiet", "--no-deps", "--target", str(tmp_path)]

    subprocess.run([*install, requirement], check=True, timeout=300)

    assert (tmp_path / "flask_resource_server/extension.py").exists()
    assert not (tmp_path / "shared").exists()
