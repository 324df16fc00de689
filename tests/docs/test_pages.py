"""Every command of a page does what the page says."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.docs.machine import Machine
from tests.docs.pages import Block, Page
from tests.docs.table import PAGES
from tests.servers import ROOT


@pytest.mark.parametrize("page", PAGES, ids=[page.path.removesuffix(".md") for page in PAGES])
def test_page_is_true(page: Page, tmp_path: Path) -> None:
    if not (ROOT / page.path).exists():
        pytest.skip("not written yet")
    blocks = page.read_blocks()
    if not any(block.language == "sh" for block in blocks):
        return
    for start in page.fails:
        assert any(block.text.startswith(start) for block in blocks), f"no block begins with {start}"
    with ExitStack() as stack:
        machine = Machine(page, tmp_path, stack)
        for block in blocks:
            if problem := find_problem(machine, block):
                pytest.fail(f"{page.path}:{block.line}\n{block.text}\n{problem}", pytrace=False)


def find_problem(machine: Machine, block: Block) -> str:
    """Run a block, and return why it is not as the page says, or an empty string."""
    try:
        machine.run(block)
    except AssertionError as problem:
        logs = (f"\nA server printed:\n{program.output}" for program in machine.programs)
        return f"{problem}\n{''.join(logs)}"
    return ""
