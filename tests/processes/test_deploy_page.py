"""The settings and commands of docs/how-to/deploy.md start services that work, each with its own folders."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from auth_app.settings import AuthSettings
from flask_resource_server.tokens.checks import LEEWAY
from shared.bodies import MAXIMUM_BYTES
from tests.figures import find_figures
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


def read_limits(name: str) -> dict[str, int]:
    """Return the limits of a configuration of nginx, by what they are for."""
    text = (ROOT / "deploy" / name).read_text()
    limits = {f"{zone} rate": rate for zone, rate in re.findall(r"zone=(\w+):10m rate=(\d+)r/s", text)}
    bursts = re.findall(r"limit_req zone=(\w+) burst=(\d+)", text)
    assert len(set(bursts)) == 3, "each zone has one burst"
    limits |= {f"{zone} burst": burst for zone, burst in bursts}
    limits |= dict(re.findall(r"^ +(\w+)(?: connections)? (\d+)[sk]?;", text, re.MULTILINE))
    return {limit: int(value) for limit, value in limits.items()}


LIMITS = read_limits("nginx.conf")
GUNICORN = {
    name: int(value)
    for name, value in re.findall(r"^(\w+) = (\d+)", (ROOT / "gunicorn.conf.py").read_text(), re.MULTILINE)
}
FIGURES = [
    (r"Closed after (\d+) s. They hold no thread", LIMITS["client_header_timeout"]),
    (r"Slow headers or bodies .*? Closed after (\d+) s", LIMITS["client_body_timeout"]),
    (r"([\d,]+) for each nginx process", LIMITS["worker_connections"] // 1000 * 1000),
    (r"(\d+) connections from one address", LIMITS["limit_conn"]),
    (r"`413` beyond (\d+) KiB", LIMITS["client_max_body_size"]),
    (r"Large bodies \| `413` beyond (\d+) KiB", MAXIMUM_BYTES // 1024),
    (r"(\d+) a second from one address, with bursts of 50\.", LIMITS["logins rate"]),
    (r"10 a second from one address, with bursts of (\d+)\.", LIMITS["logins burst"]),
    (r"computes (\w+) password hashes", AuthSettings.model_fields["password_hashes_at_once"].default),
    (r"Floods of `/authorize` \| No limit\. \| (\d+) a second", LIMITS["authorizations rate"]),
    (r"20 a second from one address, with bursts of (\d+)\.", LIMITS["authorizations burst"]),
    (r"the (\d+) requests a second of its address", LIMITS["requests rate"]),
    (r"All other requests \| No limit\. \| (\d+) a second", LIMITS["requests rate"]),
    (r"(\w+) are enough to stop a service", GUNICORN["workers"] * GUNICORN["threads"]),
    (r"(\w+) for each worker\. 1,000 wait", GUNICORN["threads"]),
    (r"tolerate a difference of (\d+) seconds", LEEWAY),
]


@pytest.mark.parametrize(("pattern", "value"), FIGURES, ids=[pattern for pattern, _ in FIGURES])
def test_figure_is_that_of_the_configuration(pattern: str, value: int) -> None:
    assert set(find_figures(PAGE, pattern)) == {value}


def test_both_configurations_of_nginx_have_the_same_limits() -> None:
    assert read_limits("nginx-paths.conf") == LIMITS
