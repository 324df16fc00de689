"""Serve `/courses`: list and read (scope `courses:read`), add, change and delete (scope `courses:write`)."""

import json
from urllib.parse import urlencode

from flask import Blueprint, Flask, Response, jsonify, request
from flask_jwt_extended import jwt_required
from sqlalchemy import bindparam, delete, select, update
from werkzeug import Response as AnyResponse
from werkzeug.exceptions import NotFound, PreconditionFailed, PreconditionRequired
from werkzeug.http import generate_etag
from werkzeug.routing import IntegerConverter

from course_app.compiled_query import CompiledQuery
from course_app.database import db
from course_app.errors import CapacityTooSmall, NotYours
from course_app.models import Course
from flask_resource_server import current_subject, require_scope
from shared.contract import read_body, read_query

blueprint = Blueprint("courses", __name__, url_prefix="/courses")


class CourseId(IntegerConverter):
    """A course ID, 1 to 999999999: in a canonical form, and in the range of every database."""

    regex = r"[1-9][0-9]{0,8}"


def init_app(app: Flask) -> None:
    """Register the views and the converter for course IDs."""
    app.url_map.converters["course_id"] = CourseId
    app.register_blueprint(blueprint)


PAGE = (
    select(Course.id, Course.title, Course.description, Course.capacity)
    .where(Course.id > bindparam("after"))
    .order_by(Course.id)
    .limit(bindparam("limit"))
)
_COMPILED_PAGE = CompiledQuery(PAGE)


@blueprint.get("")
@jwt_required()
@require_scope("courses:read")
def list_courses() -> AnyResponse:
    """Return one page of the courses."""
    return show_page(_COMPILED_PAGE, "/courses")


@blueprint.post("")
@jwt_required()
@require_scope("courses:write")
def add_course() -> Response:
    """Add a course. The token's subject becomes its owner."""
    course = Course(**{"description": "", "capacity": None} | read_body(), owner=current_subject())
    db.session.add(course)
    db.session.flush()
    response = _show(course)  # before the commit, after which somebody else may delete the course
    response.status_code = 201
    response.location = f"{request.script_root}/courses/{course.id}"
    db.session.commit()
    return response


@blueprint.get("/<course_id:course_id>")
@jwt_required()
@require_scope("courses:read")
def read_course(course_id: int) -> AnyResponse:
    """Return one course, or 304 if the client's copy is current."""
    return _revalidate(_show(find_course(course_id)))


@blueprint.patch("/<course_id:course_id>")
@jwt_required()
@require_scope("courses:write")
def change_course(course_id: int) -> Response:
    """Change the members of a course that the body contains (RFC 7396)."""
    version, body = _find_to_change(course_id).version, read_body()
    change = update(Course).where(Course.id == course_id, Course.version == version)
    if body.get("capacity") is not None:
        change = change.where(Course.enrolled <= body["capacity"])
    change = change.values(**body, version=version + 1)
    is_changed = db.session.scalar(change.returning(Course.id))
    db.session.commit()
    course = find_course(course_id)
    if not is_changed:
        raise CapacityTooSmall if course.version == version else PreconditionFailed
    return _show(course)


@blueprint.delete("/<course_id:course_id>")
@jwt_required()
@require_scope("courses:write")
def delete_course(course_id: int) -> tuple[str, int]:
    """Delete a course and its enrolments."""
    version = _find_to_change(course_id).version
    same = delete(Course).where(Course.id == course_id, Course.version == version)
    is_deleted = db.session.scalar(same.returning(Course.id))
    db.session.commit()
    if not is_deleted:
        raise PreconditionFailed
    return "", 204


def show_page(statement: CompiledQuery, path: str, **parameters: str | None) -> AnyResponse:
    """Return one page of `statement`, which is derived from `PAGE`, with a link to the next page; or 304.

    The links begin with `path`. `parameters` are those of the statement besides `PAGE`'s own.
    """
    query = read_query()
    limit = query["limit"]
    found = statement.fetch(db.engine, {"after": query["after"], "limit": limit + 1, **parameters})
    page, has_next = found[:limit], len(found) > limit
    next_query = urlencode({"limit": limit, "after": page[-1]["id"]}) if has_next else ""
    response = jsonify(courses=page, next=f"{request.script_root}{path}?{next_query}" if has_next else None)
    response.add_etag()
    return _revalidate(response)


def find_course(course_id: int) -> Course:
    """Return a course. Raises `NotFound`."""
    course = db.session.get(Course, course_id)
    if course is None:
        raise NotFound
    return course


def _find_to_change(course_id: int) -> Course:
    """Return a course that the subject may change, if `If-Match` has its version (RFC 9110 section 13.1.1).

    Raises `NotFound`, `NotYours`, `PreconditionRequired`, `PreconditionFailed`.
    """
    course = find_course(course_id)
    if course.owner not in {None, current_subject()}:
        raise NotYours
    if not request.if_match:
        raise PreconditionRequired
    if not request.if_match.contains(_tag(course)):
        raise PreconditionFailed
    return course


def _revalidate(response: Response) -> AnyResponse:
    """Allow the client to cache the response and revalidate it each time; return 304 to a revalidation."""
    response.headers["Cache-Control"] = "private, no-cache"
    # Without this test, Werkzeug takes as long for an unconditional request as the JSON takes.
    return response.make_conditional(request) if request.if_none_match else response


def _show(course: Course) -> Response:
    response = jsonify(_present(course))
    response.set_etag(_tag(course))
    return response


def _tag(course: Course) -> str:
    return generate_etag(json.dumps([*_present(course).values(), course.version]).encode())


def _present(course: Course) -> dict[str, object]:
    return {
        "id": course.id,
        "title": course.title,
        "description": course.description,
        "capacity": course.capacity,
    }
