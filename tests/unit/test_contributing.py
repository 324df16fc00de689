"""CONTRIBUTING.md names files and tests that exist."""

import re

import pytest

from tests.servers import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
PATH = re.compile(
    r"(?<![\w/*.])((?:\.?[\w-]+/)+[\w.-]*|\.?\w[\w-]*\.(?:py|md|yml|in|toml|txt)|\.env\.example)"
)
OTHER_PLACES = {"dist/", "site/", "settings.py", "openapi.yml", ".venv/bin/"}
NAMED = sorted(set(PATH.findall(PAGE)) - OTHER_PLACES)


@pytest.mark.parametrize("path", [path for path in NAMED if not path.startswith(".venv/")])
def test_named_file_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_more_than_fifty_files_are_named() -> None:
    assert len(NAMED) > 50


def test_names_in_a_table_cell_occur_in_its_files() -> None:
    """Each name in a cell, such as `GRANTS in ...`, occurs in one of the files that the cell mentions."""
    for cell in re.findall(r"\| ([^|]*\.py[^|]*) \|", PAGE):
        files = [ROOT / path for path in PATH.findall(cell) if (ROOT / path).is_file()]
        code = "".join(path.read_text() for path in files)
        for name in re.findall(r"`([A-Z]{3,}|[A-Z][a-z]+[A-Z]?\w*|_?[a-z]+_[a-z_]+)`", cell):
            assert name in code, f"{name}: {cell}"


@pytest.mark.parametrize("layer", sorted(path.name for path in (ROOT / "tests").iterdir() if path.is_dir()))
def test_every_test_layer_is_listed(layer: str) -> None:
    if layer.startswith("_"):
        return
    assert f"`tests/{layer}`" in PAGE


def test_pre_commit_hook_is_executable() -> None:
    assert (ROOT / ".githooks/pre-commit").stat().st_mode & 0o111
