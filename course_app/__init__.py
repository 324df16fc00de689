"""The course service, a resource server: it verifies tokens with public keys only, and serves courses."""

from flask import Flask
from sqlalchemy import select

from course_app import cli, courses, database, enrolments
from course_app.models import Course
from course_app.settings import CourseSettings
from flask_resource_server import ResourceServer
from shared import service
from shared.docs_sign_in import SignIn
from shared.logs import init_logs
from shared.settings import load_settings
from shared.startup import add_check, refusal

# The paths that scripts of CORS_ORIGINS may use.
API_PATHS = ("/courses(/.*)?", "/me/courses")
# The scopes that the docs page requests. The token has those of them that the user may have.
SCOPES = {
    "courses:read": "List and read courses",
    "courses:write": "Add courses, and change and delete your own",
    "enrolments:write": "Take and give up seats",
}


def create_app(settings: CourseSettings | None = None) -> Flask:
    """Create the application. Settings come from the environment unless given.

    Exits with one line on standard error if the settings are invalid. Keys are read when first needed.
    """
    with refusal("course_app"):
        init_logs()
        settings = settings or load_settings(CourseSettings)
        app = Flask(__name__, static_folder=None)
        tokens = ResourceServer(app, resource=settings.resource, issuers=[settings.trusted_issuer])
        database.init_app(app, settings.course_database_url.get_secret_value())
        checks = {"database": lambda: database.db.session.scalar(select(Course.id).limit(1))}
        ages = {
            ("keys_age_seconds", "Seconds since the keys were current."): tokens.ages["keys"],
            ("status_lists_age_seconds", "Seconds since the lists were current."): tokens.ages[
                "status_lists"
            ],
        }
        service.install_defaults(
            app,
            settings,
            checks={**tokens.checks, **checks},
            ages=ages,
            api_paths=API_PATHS,
            docs_sign_in=_docs_sign_in(settings),
        )
        add_check(app, tokens.check_startup)
        cli.init_app(app)
        courses.init_app(app)
        app.register_blueprint(enrolments.blueprint)
        return app


def _docs_sign_in(settings: CourseSettings) -> SignIn | None:
    client_id = settings.docs_client_id
    return SignIn(settings.issuer, client_id, SCOPES) if client_id else None
