"""What the pages start from, and why some blocks and pages are not run."""

from tests.docs.pages import Page

EXAMPLES = ("downstream", "fastapi", "job", "nginx", "node", "service", "web_app")

PAGES = [
    Page("docs/explanation/architecture.md"),
    Page("docs/explanation/performance.md"),
    Page("docs/explanation/security.md"),
    Page("docs/get-started.md", fails=("curl http://127.0.0.1:8081/healthz", 'echo "$FORGED" |')),
    Page("docs/how-to/deploy.md"),
    Page("docs/how-to/log-out-everywhere.md", serves=True),
    Page("docs/how-to/migrate.md", kit=True),
    Page("docs/how-to/operate.md", serves=True),
    Page("docs/how-to/protect-a-service.md", kit=True),
    Page("docs/how-to/rotate-keys.md", serves=True),
    Page("docs/how-to/service-to-service.md", serves=True),
    Page("docs/how-to/sign-in.md", serves=True),
    Page("docs/how-to/upgrade.md"),
    Page("docs/how-to/users-and-roles.md", serves=True),
    Page("docs/index.md", serves=True),
    Page("docs/reference/commands.md", serves=True),
    Page("docs/reference/conformance.md"),
    Page("docs/reference/errors.md", serves=True),
    Page("docs/reference/http.md", serves=True),
    Page("docs/reference/kit.md", kit=True),
    Page("docs/reference/settings.md"),
    Page(
        "examples/README.md",
        then=tuple(Page(f"examples/{name}/README.md", folder=f"examples/{name}") for name in EXAMPLES),
    ),
    Page("examples/spa/README.md"),
]

# Pages whose commands are run by other tests, which are named here.
ELSEWHERE = {
    "README.md": "tests/processes/test_scripts.py",
}

# Blocks of commands that no test can run, by page and how they begin, with the reason.
NOT_RUN: dict[tuple[str, str], str] = {}
