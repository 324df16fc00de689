"""The course service: it holds only public keys, verifies tokens by itself, and serves courses."""

from flask import Flask
from sqlalchemy import select

from course_app import cli, courses, database
from course_app.models import Course
from course_app.settings import CourseSettings
from shared import resource_server
from shared.public_keys import open_public_keys
from shared.settings import load_settings
from shared.startup import refusal


def create_app(settings: CourseSettings | None = None) -> Flask:
    """Make the application; settings come from the environment unless given.

    Exits with one line on standard error when the settings or the keys are unfit.
    """
    with refusal("course_app"):
        settings = settings or load_settings(CourseSettings)
        app = Flask(__name__, static_folder=None)
        database.init_app(app, settings.course_database_url.get_secret_value())
        cli.init_app(app)
        courses.init_app(app)
        resource_server.init_app(
            app,
            issuer=settings.issuer,
            audience=settings.resource,
            public_keys=open_public_keys(settings),
            checks={"database": lambda: database.db.session.scalar(select(Course.id).limit(1))},
        )
        return app
