"""The settings and commands of docs/how-to/deploy.md start services that work, each with its own folders."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from auth_app.settings import AuthSettings
from flask_resource_server.tokens.checks import LEEWAY
from shared.bodies import MAXIMUM_BYTES
from tests.bash import run_bash
from tests.figures import find_figures
from tests.secrets import remember
from tests.servers import ROOT, Server, call, listen, serve, url_of, wait_for

PAGE = (ROOT / "docs/how-to/deploy.md").read_text()
SYSTEMD = PAGE.partition("## systemd")[2].partition("\n## ")[0]
(WRITE_SETTINGS,) = re.findall(r"```console\n(install -d /etc/services\n.*?)```", SYSTEMD, re.DOTALL)
(FUNCTIONS,) = re.findall(r"```console\n(run_as\(\).*?)```", SYSTEMD, re.DOTALL)
COMMANDS = re.findall(r"^as_(auth|course) (.*)$", SYSTEMD, re.MULTILINE)
(ADD_CLIENT,) = re.findall(r"^as_auth (clients add .*)$", PAGE, re.MULTILINE)
CLIENT = {"client_id": "terminal"}
PASSWORD = "correct horse battery"
# Runs the command without systemd. As with systemd, `--pty` merges standard error into standard output.
SYSTEMD_RUN = """#!/bin/bash
set -eu
for option; do
  case $option in
    --pty) exec 2>&1 ;;
    --working-directory=*) cd "${option#*=}" ;;
    --*) ;;
    *) break ;;
  esac
  shift
done
exec "$@"
"""


def adapt(text: str, folder: Path) -> str:
    """Return commands of the page that use folders below `folder` and the installed packages."""
    text = text.replace("/opt/services/.venv/bin/flask", f"{Path(sys.executable).parent}/flask")
    text = text.replace("/opt/services", str(ROOT))
    return re.sub(r"/(?:etc/services|var/l(?:ib|og))", rf"{folder}\g<0>", text)


def run_script(script: str, folder: Path, environment: dict[str, str] | None = None) -> str:
    path = {"PATH": f"{folder}/bin:{os.environ['PATH']}"}
    return run_bash(adapt(script, folder), path | (environment or {}), stdin=f"{PASSWORD}\n")


def read_environment(name: str, folder: Path, auth_url: str) -> dict[str, str]:
    """Return the settings that the page's commands wrote, with `auth_url` as auth_app's address."""
    text = (folder / f"etc/services/{name}.env").read_text().replace("http://127.0.0.1:8081", auth_url)
    return dict(line.split("=", 1) for line in text.splitlines())


def run_commands(name: str, folder: Path, environment: dict[str, str]) -> None:
    for service, command in COMMANDS:
        if service == name:
            run_command(name, command, folder, environment)


def run_command(name: str, command: str, folder: Path, environment: dict[str, str]) -> str:
    return run_script(f"{FUNCTIONS}\nas_{name} {command}", folder, environment)


def create_folders(folder: Path) -> None:
    for path in re.findall(r"/(var/lib/\S+)", SYSTEMD.partition("```")[2].partition("```")[0]):
        (folder / path).mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "var/log").mkdir()
    (folder / "bin").mkdir()
    (folder / "bin/systemd-run").write_text(SYSTEMD_RUN)
    (folder / "bin/systemd-run").chmod(0o755)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    create_folders(tmp_path)
    run_script(WRITE_SETTINGS, tmp_path)
    return tmp_path


def log_in(auth: Server) -> str:
    remember({"password": PASSWORD})
    status, answer = call(f"{auth.url}/token", form={"username": "admin", "password": PASSWORD, **CLIENT})
    assert status == 200, answer
    token: str = answer["access_token"]
    return token


def test_services_work_with_the_documented_settings_and_commands(home: Path) -> None:
    assert len(COMMANDS) == 4
    with listen() as auth_listener, listen() as course_listener:
        auth_environment = read_environment("auth", home, url_of(auth_listener))
        course_environment = read_environment("course", home, url_of(auth_listener))
        run_commands("auth", home, auth_environment)
        run_commands("course", home, course_environment)
        assert "client_secret" in run_command("auth", ADD_CLIENT, home, auth_environment)
        grant = "clients add terminal --public --grant password --scope courses:read"
        run_command("auth", grant, home, auth_environment)
        with (
            serve("wsgi_auth", auth_listener, auth_environment, home / "var/lib/auth") as auth,
            serve("wsgi_course", course_listener, course_environment, home / "var/lib/course") as course,
        ):
            token = log_in(auth)
            assert call(f"{course.url}/courses", token)[0] == 200
            auth.stop()
            assert call(f"{course.url}/courses", token)[0] == 200, "it has copies of the keys and lists"
    assert {path.name for path in (home / "var/lib/auth/keys").iterdir()} == {
        "private_key.pem",
        "public_key.pem",
    }


def test_settings_files_are_readable_only_by_their_owner(home: Path) -> None:
    written = sorted((home / "etc/services").iterdir())

    assert [(path.name, path.stat().st_mode & 0o777) for path in written] == [
        ("auth.env", 0o600),
        ("course.env", 0o600),
    ]
    assert PAGE.count("ISSUER=https://auth.example.com\n") == 2, (
        "the page contains the settings of both services"
    )


def test_commands_log_to_a_private_file_that_can_be_replayed(home: Path) -> None:
    environment = read_environment("auth", home, "http://127.0.0.1:8081")
    run_command("auth", "db upgrade", home, environment)

    printed = run_command("auth", "users add admin --role admin", home, environment)
    log = home / "var/log/auth-commands.log"
    wait_for(lambda: log.exists() and '"user_created"' in log.read_text())

    assert "user_created" not in printed
    assert log.stat().st_mode & 0o777 == 0o600
    replay = f"{FUNCTIONS}\ncat /var/log/auth-commands.log | as_auth log replay 2026-01-01T00:00:00Z"
    assert "replayed 1 event" in run_script(replay, home, environment)


def test_course_app_settings_do_not_mention_the_private_key(home: Path) -> None:
    settings = (home / "etc/services/course.env").read_text()

    assert "private" not in settings.lower()
    assert "/var/lib/auth/" not in settings


def test_adapted_nginx_configuration_names_no_container(tmp_path: Path) -> None:
    (command,) = re.findall(r"```sh\n(sed .*?)```", PAGE, re.DOTALL)
    (tmp_path / "deploy").symlink_to(ROOT / "deploy")

    subprocess.run(["sh", "-euc", command], cwd=tmp_path, check=True)

    adapted = (tmp_path / "nginx.conf").read_text()
    assert re.findall(r"^ +server (\S+:\d+);", adapted, re.MULTILINE) == ["127.0.0.1:8081", "127.0.0.1:8082"]
    assert "\npid /run/nginx.pid;\n" in adapted


def read_limits(name: str) -> dict[str, int]:
    """Return the limits in an nginx configuration, by name."""
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
def test_figure_matches_the_configuration(pattern: str, value: int) -> None:
    assert set(find_figures(PAGE, pattern)) == {value}


def test_both_nginx_configurations_have_the_same_limits() -> None:
    assert read_limits("nginx-paths.conf") == LIMITS
