"""The entries of CHANGELOG.md that are marked **(upgrade)** and the notes of docs/how-to/upgrade.md agree."""

import re

import pytest

from flask_resource_server import __version__
from tests.servers import ROOT

CHANGELOG = (ROOT / "CHANGELOG.md").read_text().partition(f"\n## {__version__}")[2].partition("\n## ")[0]
PAGE = (ROOT / "docs/how-to/upgrade.md").read_text()
NOTES = re.split(rf"\n## From \S+ to {re.escape(__version__)}\n", PAGE)[1].partition("\n## ")[0]
ENTRIES = [entry for entry in re.split(r"\n(?=- |#)", CHANGELOG) if entry.startswith("- ")]
MARKED = [entry for entry in ENTRIES if "**(upgrade)**" in entry]
SECTIONS = dict(section.split("\n", 1) for section in NOTES.split("\n### ")[1:])


def find_names(text: str) -> set[str]:
    """Return what is in code font: settings, commands, codes, claims, statuses."""
    return set(re.findall(r"`([^`\n]+)`", text))


NAMES = find_names("".join(MARKED))


@pytest.mark.parametrize("entry", MARKED, ids=[entry[:60] for entry in MARKED])
def test_marked_entry_has_a_note(entry: str) -> None:
    assert any(name in NOTES for name in find_names(entry))


@pytest.mark.parametrize("heading", SECTIONS)
def test_section_in_the_notes_has_a_marked_entry(heading: str) -> None:
    assert any(name in SECTIONS[heading] for name in NAMES)


def test_setting_in_the_notes_has_a_marked_entry() -> None:
    rows = re.findall(r"^\| [^|]* \| [^|]* \| [^|]* \|$", SECTIONS["Settings"], re.MULTILINE)[1:]
    settings = [re.findall(r"`([A-Z_]{4,})`", row) for row in rows]

    assert len(settings) > 5
    assert [names for names in settings if not names or not NAMES & set(names)] == []


@pytest.mark.parametrize("code", sorted(find_names(SECTIONS["Errors"]) | find_names(SECTIONS["Tokens"])))
def test_name_in_the_notes_is_in_a_marked_entry(code: str) -> None:
    """Every error, status and claim in the notes, except those that only explain another one."""
    explained = {
        "5xx",
        "Retry-After",
        "resource",
        "abort(409)",
        "STATUS_CLAIM=required",
        "clients set",
        "403",
    }

    assert code in explained or any(code in name for name in NAMES)
