"""Commands of the course service: `flask --app wsgi_course ...`."""

import click
from flask import Flask
from flask.cli import with_appcontext
from flask_migrate import upgrade as upgrade_tables
from sqlalchemy import select

from course_app.database import db
from course_app.models import Course

DEMO_COURSES = {
    "Public-key cryptography": "How a signature is made with one key and checked with another.",
    "Relational databases": "Tables, keys, joins and transactions, and what an index is for.",
    "Operating systems": "Processes, memory, files and permissions, seen from a small kernel.",
    "Computer networks": "From the wire to HTTP: addressing, routing, congestion, and what TLS adds on top.",
    "Distributed systems": "Clocks, replicas, consensus, and what still holds when a machine stops.",
    "Software testing": "Properties, tables of cases, real databases, and tests that are seen to fail once.",
}


def init_app(app: Flask) -> None:
    """Give `app` its commands."""
    app.cli.add_command(add_demo_courses)


@click.command("demo-data", epilog="\b\nExample:\n  flask --app wsgi_course demo-data")
@click.option("--upgrade", is_flag=True, help="Create or upgrade the tables first, as `db upgrade` does.")
@with_appcontext
def add_demo_courses(upgrade: bool) -> None:
    """Add the demo courses, unless there are courses already."""
    if upgrade:  # migrations commit on their own; running this again completes what is missing
        upgrade_tables()
    if db.session.scalar(select(Course.id).limit(1)) is None:
        db.session.add_all(
            Course(title=title, description=description) for title, description in DEMO_COURSES.items()
        )
        db.session.commit()
