"""Deployments give the private key only to auth_app, and each service only what it needs."""

import hashlib
import hmac
import os
import re
import secrets
import shutil
import subprocess
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml

from tests.databases import serve_postgresql
from tests.servers import ROOT

UNITS = ["auth", "course"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_private_key_is_mounted_only_into_the_issuer() -> None:
    mounted = {name: " ".join(service.get("volumes", [])) for name, service in SERVICES.items()}

    assert {name for name, volumes in mounted.items() if "keys" in volumes} == {"auth", "auth-migrations"}
    assert all(SERVICES[name]["build"]["target"] == "auth" for name in ("auth", "auth-migrations"))


def test_revoked_keys_are_recorded_apart_from_keys_and_database() -> None:
    """Otherwise, restoring a backup of those would make a revoked key valid again."""
    dockerfile = (ROOT / "deploy/Dockerfile").read_text()
    unit = (ROOT / "deploy/systemd/auth.service").read_text()
    folder = re.findall(r"REVOKED_KEYS_FILE=(/\w+)/revoked_keys", dockerfile)[0]

    for name in ("auth", "auth-migrations"):
        assert f"auth-records:{folder}" in SERVICES[name]["volumes"]
    assert re.search(rf"^RUN .*install -d -o app -g app .*{folder}\b", dockerfile, re.MULTILINE)
    assert "auth-records" in COMPOSE["volumes"]
    assert (
        "REVOKED_KEYS_FILE=/var/lib/auth-records/revoked_keys\n"
        in (ROOT / "docs/how-to/deploy.md").read_text()
    )
    assert "\nStateDirectory=auth auth-records\n" in unit


@pytest.mark.parametrize("name", UNITS)
def test_container_is_read_only_and_unprivileged(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert "postgres" not in {name for name, service in SERVICES.items() if "services" in service["networks"]}


def test_each_service_has_its_own_database() -> None:
    urls = {name: SERVICES[name]["environment"][f"{name.upper()}_DATABASE_URL"] for name in UNITS}

    for name, url in urls.items():
        assert url.startswith(f"postgresql://{name}:${{{name.upper()}_DATABASE_PASSWORD:?")
        assert url.endswith(f"@postgres/{name}")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_systemd_unit_is_valid_and_sandboxed(name: str, tmp_path: Path) -> None:
    unit = tmp_path / f"{name}.service"
    text = (ROOT / f"deploy/systemd/{name}.service").read_text()
    unit.write_text(text.replace("/opt/services/.venv/bin/gunicorn", shutil.which("true") or ""))

    verified = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False
    )
    judged = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", str(unit)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert [line for line in verified.stderr.splitlines() if unit.name in line] == []
    assert re.search(r"exposure level for .*: [01]\.\d OK", judged.stdout), judged.stdout[-200:]


def test_database_passwords_are_set_without_appearing_in_arguments(tmp_path: Path) -> None:
    passwords = {name: secrets.token_hex(12) for name in UNITS}
    recorder = tmp_path / "psql"
    with serve_postgresql() as server:
        psql = server.bin_path / "psql"
        recorder.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/arguments\nexec {psql} "$@"\n')
        recorder.chmod(0o755)
        url = sa.make_url(server.get_uri("postgres"))
        environment = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "PGHOST": str(url.query["host"]),
            **{f"{name.upper()}_DATABASE_PASSWORD": password for name, password in passwords.items()},
        }
        subprocess.run(["sh", ROOT / "deploy/databases.sh"], env=environment, check=True, timeout=60)
        hashes = server.psql("SELECT rolname, rolpassword FROM pg_authid WHERE rolpassword <> '';")
        connects = server.psql("SELECT has_database_privilege('course', 'auth', 'CONNECT') AS connects;")

    assert not any(password in (tmp_path / "arguments").read_text() for password in passwords.values())
    for name, password in passwords.items():
        match = re.search(rf"\b{name} .*SCRAM-SHA-256\$(\d+):(\S+)\$(\S+):", hashes)
        assert match
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), b64decode(match[2]), int(match[1]))
        stored = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        assert b64decode(match[3]) == stored
    assert re.search(r"^ f$", connects, re.MULTILINE)


@pytest.mark.parametrize("name", UNITS)
def test_databases_are_not_created_without_a_password(name: str) -> None:
    environment = {f"{unit.upper()}_DATABASE_PASSWORD": "x" * (unit != name) for unit in UNITS}

    done = subprocess.run(
        ["sh", ROOT / "deploy/databases.sh"],
        env=environment | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode != 0
    assert f"{name.upper()}_DATABASE_PASSWORD" in done.stderr
