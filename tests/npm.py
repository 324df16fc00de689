"""Install the packages of a folder's package-lock.json, in a copy of the folder."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.servers import PATIENCE


def install_packages(source: Path, folder: Path) -> Path:
    """Copy a folder into another one, install its npm packages there, and return the copy."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node or npm is not installed")
    copy = folder / source.name
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("node_modules"))
    done = subprocess.run(
        ["npm", "ci", "--no-audit", "--no-fund"],
        cwd=copy,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ),
        text=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return copy
