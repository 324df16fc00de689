"""The version is stated once, in flask_resource_server/__init__.py; everything else reads it from there."""

import re
import subprocess
import sys

from flask.testing import FlaskClient

from flask_resource_server import __version__
from tests.servers import ROOT

# Documents about versions, and lists of other people's packages.
MAY_NAME_IT = re.compile(
    r"flask_resource_server/__init__\.py|CHANGELOG\.md|docs/how-to/upgrade\.md|.*package-lock\.json|.*requirements.*\.txt"
)


def test_version_is_stated_in_no_other_file() -> None:
    version = re.compile(rf"(?<![\d.]){re.escape(__version__)}(?![\d.])")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    files = [name for name in tracked.stdout.split("\0") if name and not MAY_NAME_IT.fullmatch(name)]
    assert len(files) > 100

    stated = [
        name
        for name in files
        if (ROOT / name).is_file() and version.search((ROOT / name).read_text(errors="replace"))
    ]

    assert stated == []


def test_package_has_this_version() -> None:
    asked = subprocess.run(
        [sys.executable, "-m", "hatchling", "version"], cwd=ROOT, check=True, capture_output=True, text=True
    )

    assert asked.stdout.strip() == __version__


def test_contract_has_this_version(service: FlaskClient) -> None:
    document = service.get("/openapi.json").json

    assert document
    assert document["info"]["version"] == __version__


def test_changelog_begins_with_this_version() -> None:
    headings = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert headings[0].strip("[]") in {__version__, "Unreleased"}
    assert __version__ in {heading.strip("[]") for heading in headings}
