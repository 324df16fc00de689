"""Every command of the pages about the kit, and of the README, does what the page says."""

from pathlib import Path

from tests.docs.pages import Page
from tests.docs.runner import pages_of, run_page


@pages_of("kit")
def test_page_commands_do_what_the_page_says(page: Page, tmp_path: Path) -> None:
    run_page(page, tmp_path)
