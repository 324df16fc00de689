"""The scripts work on a fresh machine, or fail with one clear sentence."""

import re
import shlex
import socket
import sqlite3
import sys
import textwrap
import time
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
import requests

from tests.clones import copy_repository, free_ports, git, link_environment, link_packages, run, running
from tests.form_browser import FormBrowser
from tests.servers import PATIENCE, ROOT, call, listen, url_of

README = (ROOT / "README.md").read_text()
(TOKEN_COMMANDS,) = re.findall(r"```sh\n(TOKEN=.*?)```", README, re.DOTALL)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    return copy_repository(tmp_path / "clone")


@pytest.fixture
def installed_clone(clone: Path) -> Path:
    link_packages(clone)
    return clone


def snapshot(folder: Path) -> dict[str, str]:
    """Return the contents of keys and databases, in whichever files SQLite keeps them."""
    keys = {path.name: path.read_text() for path in (folder / "keys").glob("*.pem")}
    for path in (folder / "instance").glob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            keys[path.name] = "\n".join(connection.iterdump())
    return keys


def test_run_and_demo_scripts_work_in_a_fresh_clone(clone: Path) -> None:
    """Start and stop everything twice. tests/docs runs the README's commands with installed packages."""
    ports = free_ports()
    course_port, web_port = ports["COURSE_PORT"], ports["WEB_PORT"]

    with running(clone, ports) as (auth, course):
        greeting = course.log.read_text().partition("\n\n")[0]
        assert greeting.splitlines()[-3:] == [
            "Creating a signing key in keys/.",
            "Preparing the databases in instance/.",
            "Starting auth_app, course_app and a web application.",
        ]
        assert "{" not in greeting, "log lines are not part of the greeting"
        assert all(path.stat().st_mode & 0o077 == 0 for path in (clone / "instance").glob("*.db"))
        commands = printed_commands(course.log)
        urls = {auth.url: "http://127.0.0.1:8081", course.url: "http://127.0.0.1:8082"}
        assert re.sub("|".join(urls), lambda url: urls[url[0]], commands) == TOKEN_COMMANDS
        answer = run(commands, clone)
        assert answer.stdout.startswith('{"courses":[{"id":1,"title":"Public-key cryptography"'), answer
        demo = run("scripts/demo", clone, **ports)
        assert demo.returncode == 0, demo
        assert re.findall(r"^\d{3}(?=  )", demo.stdout, re.MULTILINE) == [
            *("200", "200", "401", "401"),
            *("200", "200", "200", "400", "400", "200", "200", "400", "200", "200"),
        ]
        web = re.search(r"(\S+)    or sign in to a web application", course.log.read_text())
        assert web
        assert web[1] == f"http://127.0.0.1:{web_port}"
        assert "Public-key cryptography" in FormBrowser().sign_in(f"{web[1]}/sign-in").text
        busy = run("scripts/run", clone, **ports)
        assert busy.returncode == 1
    before = snapshot(clone)
    assert set(before) == {"private_key.pem", "public_key.pem", "auth.db", "course.db"}
    for port in ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", int(port))) != 0, "Ctrl-C ended everything"

    resources = f"http://127.0.0.1:{course_port},http://127.0.0.1:8083"
    with running(clone, ports) as (auth, _):
        assert "Installing" not in auth.log.read_text(), "a second start installs nothing"
        _, metadata = call(f"{auth.url}/.well-known/oauth-authorization-server")
        assert metadata["protected_resources"] == resources.split(","), "a reader can add a service"
        assert snapshot(clone) == before
    assert git(clone, "status", "--porcelain", "--untracked-files=all") == git(
        clone, "diff", "--cached", "--name-status"
    ).replace("\t", "  "), "git ignores all new files"


def test_one_layer_of_the_tests_can_be_run(clone: Path) -> None:
    link_environment(clone)

    listed = run("scripts/test fuzz -n 0 --collect-only -q", clone)

    assert listed.returncode == 0, listed
    assert {line.partition("::")[0] for line in listed.stdout.splitlines() if "::" in line} == {
        "tests/fuzz/test_fuzz.py",
        "tests/fuzz/test_schemathesis.py",
    }


HALF_SENT = [b"", b"GET / HT", b"POST /token HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nscope"]


def test_failed_preparation_step_is_reported(installed_clone: Path) -> None:
    failed = run("scripts/run", installed_clone, **free_ports(), AUTH_DATABASE_URL="nonsense")

    assert failed.returncode == 1
    assert "AUTH_DATABASE_URL is not a database URL" in failed.stderr
    assert failed.stderr.endswith("run: keys generate failed: see above, and run this again.\n")


def test_service_that_cannot_start_is_named_and_no_other_is_started(installed_clone: Path) -> None:
    failed = run("scripts/run", installed_clone, **free_ports(), JWT_PRIVATE_KEY_FILE="keys/absent.pem")

    assert failed.returncode == 1
    assert "auth_app cannot start: keys/public_key.pem cannot be read" in failed.stderr
    assert failed.stderr.endswith("run: auth_app cannot serve: see above.\n")
    assert "course_app" not in failed.stderr


def test_users_can_sign_in_from_the_docs_page_of_scripts_run(installed_clone: Path) -> None:
    """Settings in .env are used too. tests/browser/test_docs_sign_in.py signs in with a browser."""
    settings = installed_clone / ".env"
    settings.write_text("CORS_ORIGINS='http://127.0.0.1:8083'\n")
    with running(installed_clone, free_ports()) as (auth, course):
        settings.unlink()
        page = requests.get(f"{course.url}/docs", timeout=PATIENCE)
        token, other = (
            requests.post(f"{auth.url}/token", headers={"Origin": origin}, timeout=PATIENCE)
            for origin in (course.url, "http://127.0.0.1:8083")
        )
        asked = {"client_id": "demo-docs", "redirect_uri": f"{course.url}/docs/oauth2-redirect"}
        url = f"{auth.url}/authorize"
        answer = requests.get(url, params=asked, allow_redirects=False, timeout=PATIENCE)

    assert 'data-client-id="demo-docs"' in page.text
    assert token.headers["Access-Control-Allow-Origin"] == course.url
    assert other.headers["Access-Control-Allow-Origin"] == "http://127.0.0.1:8083", (
        "the setting in .env is used too"
    )
    assert answer.headers["Location"].startswith(asked["redirect_uri"])


def test_ctrl_c_stops_everything_quickly_despite_open_connections(installed_clone: Path) -> None:
    with ExitStack() as stack:
        with running(installed_clone, free_ports()) as services:
            for service in services:
                address = ("127.0.0.1", int(service.url.rpartition(":")[2]))
                for sent in HALF_SENT:
                    stack.enter_context(socket.create_connection(address)).sendall(sent)
            started = time.monotonic()
        assert time.monotonic() - started < 10, "in production, requests get this long to finish"


def printed_commands(log: Path) -> str:
    """Return the commands that scripts/run tells its user to try."""
    paragraph = log.read_text().partition("Or with curl:\n\n")[2].partition("\n\n")[0]
    return textwrap.dedent(paragraph) + "\n"


def test_home_page_has_the_commands_of_the_readme() -> None:
    assert f"```sh\n{TOKEN_COMMANDS}```" in (ROOT / "docs/index.md").read_text()


def test_no_documented_command_extracts_a_token_with_sed() -> None:
    paths = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md"), ROOT / "README.md"]
    paths += [ROOT / "scripts" / name for name in ("run", "demo")]

    assert {path.name for path in paths if re.search(r"sed 's.*_token", path.read_text())} == set()


def test_readme_shows_a_request_with_a_token_in_its_first_twenty_lines() -> None:
    assert "Authorization: Bearer $TOKEN" in "\n".join(README.splitlines()[:20])


def test_every_dependency_is_explained() -> None:
    table = (ROOT / "docs/explanation/dependencies.md").read_text()
    listed = {
        name
        for row in re.findall(r"^\| (?:for \w+: )?(.+?) \|", table, re.MULTILINE)
        for name in row.split(", ")
    }
    files = [(ROOT / f"requirements{suffix}.in").read_text() for suffix in ("", "-dev", "-docs")]

    assert listed - {"Package", "---"} == set(re.findall(r"^[\w-]+", "".join(files), re.MULTILINE)) - {"-r"}


def test_every_file_named_in_the_readme_exists() -> None:
    for name in re.findall(r"\]\(([^):#]+)", README) + re.findall(r"\bscripts/\w+", README):
        assert (ROOT / name).exists(), name


BROKEN = {
    "Python too old": (
        'case "$*" in *version_info*) exit 1;; esac',
        "Python 3.11 or later is needed and was not found",
    ),
    "no venv module": ('case "$*" in *ensurepip*) exit 1;; esac', "has no venv module: install it"),
}


@pytest.mark.parametrize(("fault", "sentence"), BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("script", ["run", "test"])
def test_unsuitable_python_is_refused_before_anything_is_created(
    script: str, fault: str, sentence: str, clone: Path, tmp_path: Path
) -> None:
    python = tmp_path / "python3"
    python.write_text(f'#!/bin/sh\n{fault}\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)

    refused = run(f"scripts/{script}", clone, PYTHON=str(python))

    assert refused.returncode == 1
    assert refused.stderr.startswith(f"{script}: ")
    assert sentence in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert nothing_was_created(clone)


@pytest.mark.parametrize("name", ["AUTH_PORT", "COURSE_PORT", "WEB_PORT"])
def test_port_in_use_is_refused_before_anything_is_created(name: str, clone: Path) -> None:
    free = free_ports()
    with listen() as taken:
        port = url_of(taken).rpartition(":")[2]

        refused = run("scripts/run", clone, **(free | {name: port}))

    assert refused.returncode == 1
    assert refused.stderr == (
        f"run: port {port} is in use: stop what listens there, or choose others with AUTH_PORT, "
        "COURSE_PORT and WEB_PORT.\n"
    )
    assert nothing_was_created(clone)


def nothing_was_created(clone: Path) -> bool:
    return not git(clone, "ls-files", "--others")


def test_no_key_database_or_environment_is_tracked() -> None:
    forbidden = re.compile(r"\.(pem|key|db|sqlite3?)$|(^|/)(\.env|\.venv|instance)(/|$)")

    assert not [name for name in git(ROOT, "ls-files").splitlines() if forbidden.search(name)]
