"""The settings and commands of docs/how-to/deploy.md start services that work, each with its own folders."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.secrets import remember
from tests.servers import ROOT, Server, call, environment_for, listen, serve, url_of

PAGE = (ROOT / "docs/how-to/deploy.md").read_text()
ENVIRONMENTS = dict(re.findall(r'```ini title="(\w+)\.env"\n(.*?)```', PAGE, re.DOTALL))
SYSTEMD = PAGE.partition("## systemd")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^as_(auth|course) (.*)$", SYSTEMD, re.MULTILINE)
(ADD_CLIENT,) = re.findall(r"^as_auth (clients add .*)$", PAGE, re.MULTILINE)
CLIENT = {"client_id": "terminal"}
PASSWORD = "correct horse battery"


def read_environment(name: str, folder: Path, auth_url: str) -> dict[str, str]:
    """Return the settings of the page, for folders below another one and another port of auth_app."""
    text = ENVIRONMENTS[name].replace("/var/lib/", f"{folder}/").replace("http://127.0.0.1:8081", auth_url)
    return dict(line.split("=", 1) for line in text.splitlines())


def run_commands(name: str, environment: dict[str, str]) -> None:
    for service, command in COMMANDS:
        if service == name:
            run_command(name, command, environment)


def run_command(name: str, command: str, environment: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flask", "--app", f"wsgi_{name}", *shlex.split(command)],
        env=environment_for(environment),
        cwd=ROOT,
        input=f"{PASSWORD}\n",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def create_folders(folder: Path) -> None:
    for path in re.findall(r"/var/lib/(\S+)", SYSTEMD.partition("```ini")[0]):
        (folder / path).mkdir(mode=0o700, exist_ok=True)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    create_folders(tmp_path)
    return tmp_path


def log_in(auth: Server) -> str:
    remember({"password": PASSWORD})
    status, answer = call(f"{auth.url}/token", form={"username": "admin", "password": PASSWORD, **CLIENT})
    assert status == 200, answer
    token: str = answer["access_token"]
    return token


def test_documented_settings_and_commands_lead_to_working_services(home: Path) -> None:
    assert len(COMMANDS) == 4
    with listen() as auth_listener, listen() as course_listener:
        auth_environment = read_environment("auth", home, url_of(auth_listener))
        course_environment = read_environment("course", home, url_of(auth_listener))
        run_commands("auth", auth_environment)
        run_commands("course", course_environment)
        assert "client_secret" in run_command("auth", ADD_CLIENT, auth_environment)
        grant = "clients add terminal --public --grant password --scope courses:read"
        run_command("auth", grant, auth_environment)
        with (
            serve("wsgi_auth", auth_listener, auth_environment, home / "auth") as auth,
            serve("wsgi_course", course_listener, course_environment, home / "course") as course,
        ):
            token = log_in(auth)
            assert call(f"{course.url}/courses", token)[0] == 200
            auth.stop()
            assert call(f"{course.url}/courses", token)[0] == 200, "it has copies"
    assert {path.name for path in (home / "auth/keys").iterdir()} == {"private_key.pem", "public_key.pem"}


def test_course_app_is_told_nothing_of_the_private_key() -> None:
    assert "private" not in ENVIRONMENTS["course"].lower()
    assert "/var/lib/auth" not in ENVIRONMENTS["course"]


def test_adapted_nginx_configuration_names_no_container(tmp_path: Path) -> None:
    (command,) = re.findall(r"```sh\n(sed .*?)```", PAGE, re.DOTALL)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")

    subprocess.run(["sh", "-euc", command], cwd=tmp_path, check=True)

    adapted = (tmp_path / "nginx.conf").read_text()
    assert re.findall(r"^ +server (\S+:\d+);", adapted, re.MULTILINE) == ["127.0.0.1:8081", "127.0.0.1:8082"]
    assert "\npid /run/nginx.pid;\n" in adapted
