"""The schedules of docs/how-to/rotate-keys.md are valid for systemd, and fit the default settings."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from auth_app.keys.rotation import ACTIVE, NEXT, PROPAGATION, RETIRING
from auth_app.settings import AuthSettings
from tests.docs.page_programs import Programs
from tests.servers import ROOT

PROGRAMS = Programs("docs/how-to/rotate-keys.md")
SCHEDULES = {name: text for name, text in PROGRAMS.files.items() if name.startswith("rotate-keys.")}


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not installed")
def test_systemd_accepts_the_service_and_the_timer(tmp_path: Path) -> None:
    for name in ("rotate-keys.service", "rotate-keys.timer"):
        text = SCHEDULES[name].replace("/opt/services/.venv/bin/flask", shutil.which("true") or "")
        (tmp_path / name).write_text(text)

    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(tmp_path.iterdir()))],
        capture_output=True,
        text=True,
        check=False,
    )

    assert [line for line in done.stderr.splitlines() if "rotate-keys" in line] == []


def test_schedule_rotates_twice_and_waits_for_every_service() -> None:
    wait = AuthSettings.model_fields["jwks_max_age"].default + PROPAGATION
    assert SCHEDULES["rotate-keys.service"].count("keys rotate") == 2
    (seconds,) = re.findall(r"sleep (\d+)", SCHEDULES["rotate-keys.service"])
    assert int(seconds) > wait


def test_settings_file_is_not_sourced_by_a_shell() -> None:
    """A shell would cut a database URL at `&`, and only root may read the file."""
    text = (ROOT / "docs/how-to/rotate-keys.md").read_text()
    assert not re.search(r"(?:^|[\s;&])(?:\.|source) /etc/services", text)
    assert set(SCHEDULES) == {"rotate-keys.service", "rotate-keys.timer"}


def test_diagram_shows_every_key_state() -> None:
    drawing = (ROOT / "docs/images/key-states.svg").read_text()

    assert {f">{state}<" in drawing for state in (NEXT, ACTIVE, RETIRING)} == {True}
