"""The documented commands and examples, run on a machine set up the way a reader's would be.

Each page of docs/ is a row of `PAGES` in table.py, which says what the page starts from: a checkout with
its packages installed, the same with scripts/run serving (`serves`), or an empty folder and a new virtual
environment (`kit`). The blocks of a page run in order:

    ```sh                              in one bash for the whole page (set -eu), in that folder
    ```sh title="In the repository"    the same, in the checkout (for pages with `kit`)
    ```sh title="In another terminal"  a server: started in the background, awaited until its port listens,
                                       and ended with the page, or when a later server of the page takes its
                                       port. A block that ends with `scripts/run` is one too
    ```text                            directly after one of these, what it prints, standard error included.
                                       `...` stands for any text; alone on its line, for any number of lines
    curl -i http://...  # 401          in one of these, the status of the response
    ```python title="app.py"           a file, written before the next command (also json, ini, html, ...)
    ```console                         not run: listed with a reason in `NOT_RUN` in table.py

A block that is meant to fail is listed by its beginning in `fails` of its row. The ports 5000, 8081 to 8085,
8088 and 8090 are replaced by free ones, in the page and in the checkout, and so is
/path/to/a/clone/of/this/repository by the checkout. Run one page with `scripts/test docs -k get-started`.
"""
