"""Show courses at `/courses` to holders of the scope `courses:read`."""

from flask import Blueprint, Flask
from flask_jwt_extended import jwt_required
from sqlalchemy import func, select
from werkzeug.exceptions import NotFound
from werkzeug.routing import IntegerConverter

from course_app.database import db
from course_app.models import Course
from shared.contract import read_query
from shared.scopes import require_scope

blueprint = Blueprint("courses", __name__, url_prefix="/courses")


class CourseId(IntegerConverter):
    """The one spelling of an ID that every database takes: 1 to 999999999."""

    regex = r"[1-9][0-9]{0,8}"


def init_app(app: Flask) -> None:
    """Serve the courses from `app`."""
    app.url_map.converters["course_id"] = CourseId
    app.register_blueprint(blueprint)


@blueprint.get("")
@jwt_required()
@require_scope("courses:read")
def list_courses() -> dict[str, object]:
    """Return one page of the courses, oldest first, and how many there are."""
    query = read_query()
    offset = (query["page"] - 1) * query["per_page"]
    courses = db.session.scalars(select(Course).order_by(Course.id).offset(offset).limit(query["per_page"]))
    total = db.session.scalar(select(func.count()).select_from(Course))
    return {"courses": [_present(course) for course in courses], **query, "total": total}


@blueprint.get("/<course_id:course_id>")
@jwt_required()
@require_scope("courses:read")
def read_course(course_id: int) -> dict[str, object]:
    """Return one course."""
    course = db.session.get(Course, course_id)
    if course is None:
        raise NotFound
    return _present(course)


def _present(course: Course) -> dict[str, object]:
    return {"id": course.id, "title": course.title, "description": course.description}
