"""Deployments give the private key only to auth_app, and each service only what it needs."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import ROOT

UNITS = ["auth", "course"]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def test_private_key_is_mounted_into_the_issuer_alone() -> None:
    mounted = {name: " ".join(service.get("volumes", [])) for name, service in SERVICES.items()}

    assert {name for name, volumes in mounted.items() if "keys" in volumes} == {"auth", "auth-migrations"}
    assert all(SERVICES[name]["build"]["target"] == "auth" for name in ("auth", "auth-migrations"))


def test_revoked_keys_are_recorded_apart_from_keys_and_database() -> None:
    """So that a restored backup of those cannot bring a revoked key back."""
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
def test_container_has_no_rights_and_nothing_to_write_to(name: str) -> None:
    service = SERVICES[name]

    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


def test_only_the_proxy_can_be_reached_from_outside() -> None:
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["proxy"]
    assert "postgres" not in {name for name, service in SERVICES.items() if "services" in service["networks"]}


def test_each_service_has_a_database_of_its_own() -> None:
    urls = {name: SERVICES[name]["environment"][f"{name.upper()}_DATABASE_URL"] for name in UNITS}

    for name, url in urls.items():
        assert url.startswith(f"postgresql://{name}:${{{name.upper()}_DATABASE_PASSWORD:?")
        assert url.endswith(f"@postgres/{name}")


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", UNITS)
def test_unit_is_one_that_systemd_takes(name: str, tmp_path: Path) -> None:
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
