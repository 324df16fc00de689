"""The course service: it holds only public keys, verifies tokens by itself, and serves courses."""

from flask import Flask
from sqlalchemy import select

from course_app import cli, courses, database, enrolments
from course_app.models import Course
from course_app.settings import CourseSettings
from shared.resource_server import create_resource_server
from shared.settings import load_settings
from shared.startup import refusal


def create_app(settings: CourseSettings | None = None) -> Flask:
    """Make the application; settings come from the environment unless given.

    Exits with one line on standard error when the settings are unfit. Keys are read when first needed.
    """
    with refusal("course_app"):
        settings = settings or load_settings(CourseSettings)
        checks = {"database": lambda: database.db.session.scalar(select(Course.id).limit(1))}
        app = create_resource_server(__name__, settings, checks)
        database.init_app(app, settings.course_database_url.get_secret_value())
        cli.init_app(app)
        courses.init_app(app)
        app.register_blueprint(enrolments.blueprint)
        return app
