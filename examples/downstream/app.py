"""A service that calls another service for its user, with a second token that is only for that service."""

import os

import requests
from flask import Flask, abort, request

from flask_resource_server import ResourceServer, current_subject, require_scope

COURSES = os.environ["COURSES_URL"]

app = Flask(__name__)
app.config.from_prefixed_env()  # FLASK_OAUTH_ISSUER, FLASK_OAUTH_RESOURCE
ResourceServer(app)


@app.get("/summary")
@require_scope("courses:read")
def summarize_courses() -> dict[str, object]:
    """Return the number of courses. The header Courses-Authorization is passed on to the other service."""
    page = get_courses(request.headers.get("Courses-Authorization", ""))
    return {"reader": current_subject(), "courses": len(page["courses"])}


def get_courses(authorization: str) -> dict[str, list[object]]:
    """Return the first page of courses. Aborts with 400 or 503."""
    try:
        response = requests.get(f"{COURSES}/courses", headers={"Authorization": authorization}, timeout=5)
    except requests.RequestException:
        abort(503, "The course service is not available.")
    if response.status_code in {401, 403}:
        # Do not pass on the status: the client would discard its token for this service, which is good.
        abort(400, "Courses-Authorization has no token that the course service accepts.")
    if not response.ok:
        abort(503, "The course service is not available.")
    courses: dict[str, list[object]] = response.json()
    return courses
