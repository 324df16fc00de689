"""Run the commands of a page. Pages are tested in groups, each in a file of its own."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.machine import Machine
from tests.docs.pages import Block, Page
from tests.docs.table import PAGES

RUN = [page for page in PAGES if any(block.is_command for block in page.read_blocks())]


def pages_of(group: str) -> pytest.MarkDecorator:
    """Parametrize a test with the pages of a group."""
    pages = [page for page in RUN if find_group(page) == group]
    return pytest.mark.parametrize("page", pages, ids=[page.path.removesuffix(".md") for page in pages])


def find_group(page: Page) -> str:
    if page.kit:
        return "kit"
    return next((name for name in ("how-to", "examples") if name in Path(page.path).parts), "other")


def run_page(page: Page, folder: Path) -> None:
    """Fail at the first block that does not do what the page says."""
    with ExitStack() as stack:
        machine = Machine(page, folder, stack)
        for one in (page, *page.then):
            machine.open(one)
            run_blocks(one.read_blocks(), machine)


def run_blocks(blocks: list[Block], machine: Machine) -> None:
    for start in machine.page.fails:
        assert any(block.text.startswith(start) for block in blocks), f"no block begins with {start}"
    for block in blocks:
        if problem := find_problem(block, machine):
            pytest.fail(f"{machine.page.path}:{block.line}\n{block.text}\n{problem}", pytrace=False)


def find_problem(block: Block, machine: Machine) -> str:
    """Run a block; return how it differs from the page, with the output of all servers, or nothing."""
    try:
        machine.run(block)
    except AssertionError as problem:
        logs = (f"\nA server printed:\n{program.output}" for program in machine.programs)
        return f"{problem}\n{''.join(logs)}"
    return ""
