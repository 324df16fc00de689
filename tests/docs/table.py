"""What the pages start from, and why some blocks and pages are not run."""

from tests.docs.pages import Page

PAGES = [
    Page("docs/explanation/architecture.md"),
    Page("docs/explanation/performance.md"),
    Page("docs/explanation/security.md"),
    Page("docs/get-started.md", fails=("curl http://127.0.0.1:8081/healthz", 'echo "$FORGED" |')),
    Page("docs/how-to/deploy.md"),
    Page("docs/how-to/log-out-everywhere.md"),
    Page("docs/how-to/migrate.md", kit=True),
    Page("docs/how-to/operate.md", serves=True),
    Page("docs/how-to/protect-a-service.md", kit=True),
    Page("docs/how-to/rotate-keys.md", settings={"JWKS_MAX_AGE": "1"}),
    Page("docs/how-to/service-to-service.md"),
    Page("docs/how-to/sign-in.md"),
    Page("docs/how-to/upgrade.md"),
    Page("docs/how-to/users-and-roles.md"),
    Page("docs/index.md", serves=True),
    Page("docs/reference/commands.md", serves=True),
    Page("docs/reference/conformance.md"),
    Page("docs/reference/errors.md", serves=True),
    Page("docs/reference/http.md", serves=True),
    Page("docs/reference/kit.md", kit=True),
    Page("docs/reference/settings.md"),
]

# Pages whose commands are run by other tests, which are named here.
ELSEWHERE = {
    "README.md": "tests/processes/test_scripts.py",
    "examples/README.md": "tests/examples",
}

# Blocks of commands that no test can run, by page and how they begin, with the reason.
NOT_RUN: dict[tuple[str, str], str] = {
    ("docs/how-to/migrate.md", "$ bin/kc.sh import"): "needs Keycloak; test_migrate_page.py checks the file",
    ("docs/how-to/sign-in.md", "$ .venv/bin/python courses.py"): (
        "opens a browser; test_sign_in_page.py runs the program with one"
    ),
}
