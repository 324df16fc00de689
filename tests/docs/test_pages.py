"""Every command of a page does what the page says."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.machine import Machine
from tests.docs.pages import Block, Page
from tests.docs.table import PAGES

RUN = [page for page in PAGES if any(block.is_command for block in page.read_blocks())]


@pytest.mark.parametrize("page", RUN, ids=[page.path.removesuffix(".md") for page in RUN])
def test_page_commands_do_what_the_page_says(page: Page, tmp_path: Path) -> None:
    with ExitStack() as stack:
        machine = Machine(page, tmp_path, stack)
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
