"""Every page and every block of commands is run by a test, or listed with the reason why not."""

import ast
import json
import re

import pytest

from tests.docs.pages import Block, Page, find_blocks, is_as_documented
from tests.docs.runner import RUN, find_group
from tests.docs.table import NOT_RUN, PAGES
from tests.servers import ROOT

DOCUMENTS = sorted(
    str(path.relative_to(ROOT))
    for folder, pattern in {".": "README.md", "docs": "**/*.md", "examples": "**/README.md"}.items()
    for path in (ROOT / folder).glob(pattern)
    if "node_modules" not in path.parts
)
BLOCKS = [(path, block) for path in DOCUMENTS for block in Page(path).read_blocks()]


def test_every_page_is_listed_once() -> None:
    listed = [one.path for page in PAGES for one in (page, *page.then)]

    assert len(listed) == len(set(listed))
    assert set(DOCUMENTS) - set(listed) == set()


def test_commands_of_every_page_are_run() -> None:
    files = [path.read_text() for path in (ROOT / "tests/docs").glob("test_*_pages.py")]
    groups = [group for file in files for group in re.findall(r'@pages_of\("(.+)"\)\ndef test_', file)]

    assert sorted(groups) == sorted({find_group(page) for page in RUN})


def test_block_that_cannot_be_run_is_listed_with_a_reason() -> None:
    consoles = [(path, block.text) for path, block in BLOCKS if block.language == "console"]

    def matches(row: tuple[str, str], console: tuple[str, str]) -> bool:
        return row[0] == console[0] and console[1].startswith(row[1])

    assert [c for c in consoles if not any(matches(row, c) for row in NOT_RUN)] == [], "not in NOT_RUN"
    assert [row for row in NOT_RUN if not any(matches(row, c) for c in consoles)] == [], "no such block"
    assert all(NOT_RUN.values())


def test_command_blocks_are_all_tagged_sh() -> None:
    assert [(path, block.line) for path, block in BLOCKS if block.language in {"bash", "shell", "zsh"}] == []


def test_examples_can_be_parsed() -> None:
    for path, block in BLOCKS:
        try:
            if block.language == "python":
                ast.parse(block.text)
            if block.language == "json" and "..." not in block.text:
                json.loads(block.text)
        except (SyntaxError, ValueError) as problem:
            pytest.fail(f"{path}:{block.line}: {problem}")


def test_blocks_are_found_with_title_line_and_output() -> None:
    page = (
        '# A\n\n```sh title="In another terminal"\necho 1\n```\n\n```text\n1\n```\n\n'
        '- a\n  ```python title="a.py"\n  b\n  ```\n'
    )

    assert list(find_blocks(page)) == [
        Block("sh", "In another terminal", "echo 1\n", 3, "1\n"),
        Block("text", "", "1\n", 7),
        Block("python", "a.py", "b\n", 12),
    ]


@pytest.mark.parametrize(
    ("documented", "same"),
    [
        ("a 1\nb 2\n", True),
        ("a ...\nb 2\n", True),
        ("a 1\n...\n", True),
        ("...\na 1\nb 2\n", True),
        ("a 1\n", False),
        ("a ...\n", False),
        ("a 1\nb\n", False),
    ],
)
def test_output_is_compared_line_by_line(documented: str, same: bool) -> None:
    assert is_as_documented("a 1\nb 2\n", documented) is same
