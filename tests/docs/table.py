"""The table of documented pages: what each starts from, and which blocks are not run and why."""

from tests.docs.pages import Page

EXAMPLES = ("downstream", "fastapi", "job", "nginx", "node", "service", "web_app")

PAGES = [
    Page("README.md", kit=True),
    Page("docs/explanation/architecture.md"),
    Page("docs/explanation/comparison.md"),
    Page("docs/explanation/dependencies.md"),
    Page("docs/explanation/performance.md"),
    Page("docs/explanation/security.md"),
    Page("docs/explanation/tokens.md"),
    Page("docs/get-started.md", fails=("curl http://127.0.0.1:8081/healthz", 'echo "$FORGED" |')),
    Page("docs/how-to/deploy.md"),
    Page("docs/how-to/log-out-everywhere.md"),
    Page("docs/how-to/migrate.md", kit=True),
    Page("docs/how-to/operate.md", serves=True, fails=("TOKEN=$(curl",)),
    Page("docs/how-to/protect-a-service.md", kit=True),
    Page("docs/how-to/rotate-keys.md", settings={"JWKS_MAX_AGE": "1"}),
    Page("docs/how-to/service-to-service.md"),
    Page("docs/how-to/sign-in.md"),
    Page("docs/how-to/upgrade.md", serves=True),
    Page("docs/how-to/users-and-roles.md"),
    Page("docs/index.md", serves=True),
    Page("docs/reference/commands.md", serves=True),
    Page("docs/reference/conformance.md"),
    Page("docs/reference/errors.md", serves=True),
    Page("docs/reference/http.md", serves=True),
    Page("docs/reference/kit.md", kit=True),
    Page("docs/reference/settings.md"),
    Page("docs/reference/tokens.md"),
    Page(
        "examples/README.md",
        then=tuple(Page(f"examples/{name}/README.md", folder=f"examples/{name}") for name in EXAMPLES),
    ),
    Page("examples/spa/README.md"),
]

# Blocks of commands that this runner cannot run, by page and beginning, with the reason.
_DOCKER = "needs Docker; tests/processes/test_deploy.py and test_image.py test the files that it uses"
_ROOT = "changes users, folders or services of the system"
_TESTED = "tests/processes/test_deploy_page.py runs it, without systemd-run"
_RESTORED = "tests/processes/test_restore.py runs it, with the services stopped"
NOT_RUN: dict[tuple[str, str], str] = {
    ("docs/how-to/deploy.md", "cd deploy\n"): _DOCKER,
    ("docs/how-to/deploy.md", "docker compose run"): _DOCKER,
    ("docs/how-to/deploy.md", "useradd"): _ROOT,
    ("docs/how-to/deploy.md", "install -d /etc/services"): (
        "writes to /etc; tests/processes/test_deploy_page.py runs it in another folder"
    ),
    ("docs/how-to/deploy.md", "cp deploy/systemd"): _ROOT,
    ("docs/how-to/deploy.md", "run_as()"): "needs systemd; test_deploy_page.py runs it with a substitute",
    ("docs/how-to/deploy.md", "as_auth keys generate"): _TESTED,
    ("docs/how-to/deploy.md", "read -rsp"): (
        "asks at the terminal; tests/processes/test_deploy.py runs the script"
    ),
    ("docs/how-to/deploy.md", "install -m 644 nginx.conf"): _ROOT,
    ("docs/how-to/deploy.md", "as_auth clients add"): _TESTED,
    ("docs/how-to/operate.md", "AUTH=/var/lib/auth"): _ROOT,
    ("docs/how-to/operate.md", 'mkdir -m 700 "$BACKUP"'): _RESTORED,
    ("docs/how-to/operate.md", "restore()"): _RESTORED,
    ("docs/how-to/operate.md", "sudo -u postgres pg_restore"): _RESTORED,
    ("docs/how-to/operate.md", "cp -a"): _RESTORED,
    ("docs/how-to/operate.md", "flask --app wsgi_auth db upgrade"): _RESTORED,
    ("docs/how-to/rotate-keys.md", "cp rotate-keys.service"): _ROOT,
    ("docs/how-to/upgrade.md", "git fetch"): "needs the tag of a release",
    ("docs/how-to/upgrade.md", "systemctl restart"): _ROOT,
    ("docs/how-to/upgrade.md", "docker compose up"): _DOCKER,
    ("docs/how-to/upgrade.md", ".venv/bin/flask --app wsgi_auth db downgrade"): (
        "needs the tag of a release; tests/unit/test_first_edition.py downgrades"
    ),
    ("docs/how-to/upgrade.md", "git checkout"): "needs the tag of a release",
    ("docs/how-to/upgrade.md", "cat auth.log"): "needs the log of a release",
    ("docs/how-to/upgrade.md", "scripts/lock"): "asks package registries, and runs all tests",
    ("docs/how-to/migrate.md", "$ bin/kc.sh import"): "needs Keycloak; test_migrate_page.py checks the file",
    ("docs/how-to/sign-in.md", "$ .venv/bin/python courses.py"): (
        "opens a browser; test_sign_in_page.py runs the program with one"
    ),
}
