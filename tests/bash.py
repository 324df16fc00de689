"""Run documented commands in bash, which stops at the first that fails."""

import subprocess
import sys
from pathlib import Path

from tests.servers import environment_for


def run_bash(script: str, environment: dict[str, str], folder: Path | None = None, stdin: str = "") -> str:
    """Return what a script prints, with the programs of this virtual environment; it must succeed."""
    settings = environment_for(environment)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=settings | {"PATH": f"{Path(sys.executable).parent}:{settings['PATH']}"},
        cwd=folder,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
