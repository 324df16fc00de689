"""A service that uses the kit and no database, to measure the cost of verification alone."""

from typing import Any

from flask import Flask
from flask_jwt_extended import jwt_required

from bench.answer import ANSWER
from course_app.settings import CourseSettings
from flask_resource_server import ResourceServer, require_scope

app = Flask(__name__)
settings = CourseSettings()
ResourceServer(app, resource=settings.resource, issuers=[settings.trusted_issuer])
app.add_url_rule("/readyz", view_func=lambda: "ready")


@app.get("/memory")
@require_scope("courses:read")
def read() -> dict[str, Any]:
    """Return the page from memory."""
    return ANSWER


@app.get("/memory-jwt-required")
@jwt_required()
@require_scope("courses:read")
def read_with_jwt_required() -> dict[str, Any]:
    """Return the page from memory, with the decorator of flask-jwt-extended as well."""
    return ANSWER
