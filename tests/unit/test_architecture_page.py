"""docs/explanation/architecture.md mentions only files that exist, and names that occur in them."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.servers import ROOT

PAGE = ROOT / "docs/explanation/architecture.md"
CHANGES = [
    row.strip("| ").split(" | ")
    for row in PAGE.read_text().partition("## Where to make a change")[2].splitlines()
    if row.startswith("| ") and "`" in row
]
# In code font, but neither a path nor a name in one of the row's files.
OTHER = {
    "RESOURCES", "PAGE_TEXTS_FILE", "explain-token", "flask", "openapi.yml", "require_scope", "sub", "ttl",
}  # fmt: skip

# What newcomers ask first: each must have exactly one row, here or in the table of additions.
QUESTIONS = (
    "longest lifetime", "expired token", "fetch status lists", "in one service only", "ES256",
    "Content-Security-Policy", "LDAP",
)  # fmt: skip
ADDITIONS = ("a claim in access tokens", "a grant", "a column or a table", "a page", "a setting of a service")


def read_files(path: Path) -> str:
    files = path.rglob("*.*") if path.is_dir() else [path]
    return "\n".join(file.read_text() for file in files if file.suffix in {".py", ".yml", ".html", ".conf"})


@pytest.mark.parametrize("question", QUESTIONS)
def test_newcomers_question_has_exactly_one_row(question: str) -> None:
    assert sum(question in task for task, _ in CHANGES) == 1


@pytest.mark.parametrize("addition", ADDITIONS)
def test_common_addition_is_described_in_contributing_only(addition: str) -> None:
    table = (ROOT / "CONTRIBUTING.md").read_text().partition("## Add something\n")[2].partition("\n## ")[0]

    assert table.count(f"\n| {addition} |") == 1
    assert "(../../CONTRIBUTING.md#add-something)" in PAGE.read_text()
    assert not [task for task, _ in CHANGES if task.startswith(f"add {addition}")]


@pytest.mark.parametrize(("task", "places"), CHANGES, ids=[task for task, _ in CHANGES])
def test_names_in_a_row_exist_in_the_code(task: str, places: str) -> None:
    quoted = set(re.findall(r"`@?([\w./-]+)`", places)) - OTHER
    paths = {name for name in quoted if (ROOT / name).exists()}
    code = "".join(read_files(ROOT / path) for path in paths)
    missing = {name for name in quoted - paths if not re.search(rf"\b{name}\b", code, re.IGNORECASE)}

    assert not missing


@pytest.mark.parametrize("page", ["architecture", "performance", "security", "tokens"])
def test_links_to_code_resolve(page: str) -> None:
    path = ROOT / f"docs/explanation/{page}.md"
    for link in re.findall(r"\]\((\.\./\.\./[^)#]+)\)", path.read_text()):
        assert (path.parent / link).exists(), link


@pytest.mark.parametrize("name", ["architecture", "layers", "revocation"])
def test_diagram_is_readable_on_any_background_and_by_screen_readers(name: str) -> None:
    text = (ROOT / f"docs/images/{name}.svg").read_text()
    drawing = ElementTree.fromstring(text)  # noqa: S314  # a file of ours
    _, _, width, height = drawing.attrib["viewBox"].split()
    background = drawing.find("{*}rect")

    assert background is not None
    assert background.attrib.items() >= {"width": width, "height": height, "fill": "#ffffff"}.items()
    assert drawing.findtext("{*}title")
    assert drawing.findtext("{*}desc")
    assert not re.search(r"href|url\((?!#)|@import|<style|<script", text)
