"""Every command of the how-to guides does what the page says."""

from pathlib import Path

from tests.docs.pages import Page
from tests.docs.runner import pages_of, run_page


@pages_of("how-to")
def test_page_commands_do_what_the_page_says(page: Page, tmp_path: Path) -> None:
    run_page(page, tmp_path)
