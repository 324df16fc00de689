"""Serve enrolments: users take and give up seats in courses, and list their own courses at `/me/courses`."""

from flask import Blueprint
from flask_jwt_extended import jwt_required
from sqlalchemy import bindparam, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from werkzeug import Response

from course_app.compiled_query import CompiledQuery
from course_app.courses import PAGE, find_course, show_page
from course_app.database import db
from course_app.errors import CourseFull
from course_app.models import Course, Enrolment
from flask_resource_server import current_subject, require_scope

blueprint = Blueprint("enrolments", __name__)

_OWN_PAGE = CompiledQuery(
    PAGE.where(Course.id.in_(select(Enrolment.course_id).where(Enrolment.subject == bindparam("subject"))))
)


@blueprint.put("/courses/<course_id:course_id>/enrolment")
@jwt_required()
@require_scope("enrolments:write")
def enrol(course_id: int) -> tuple[str, int]:
    """Take a seat in a course for the token's subject. Has no effect if the subject has one already."""
    try:
        db.session.execute(insert(Enrolment).values(course_id=course_id, subject=current_subject()))
    except IntegrityError:  # the subject has a seat already, or the course does not exist
        db.session.rollback()
        find_course(course_id)
        return "", 204
    has_seat = (Course.capacity.is_(None)) | (Course.enrolled < Course.capacity)
    # The database counts, so that simultaneous requests cannot take more seats than there are.
    counted = update(Course).where(Course.id == course_id, has_seat).values(enrolled=Course.enrolled + 1)
    if not db.session.scalar(counted.returning(Course.id)):
        db.session.rollback()
        raise CourseFull
    db.session.commit()
    return "", 204


@blueprint.delete("/courses/<course_id:course_id>/enrolment")
@jwt_required()
@require_scope("enrolments:write")
def leave(course_id: int) -> tuple[str, int]:
    """Give up the seat of the token's subject. Has no effect if the subject has none."""
    seat = delete(Enrolment).where(Enrolment.course_id == course_id, Enrolment.subject == current_subject())
    if db.session.scalar(seat.returning(Enrolment.course_id)):
        counted = update(Course).where(Course.id == course_id).values(enrolled=Course.enrolled - 1)
        db.session.execute(counted)
    db.session.commit()
    find_course(course_id)
    return "", 204


@blueprint.get("/me/courses")
@jwt_required()
@require_scope("courses:read")
def list_own_courses() -> Response:
    """Return one page of the courses in which the token's subject is enrolled."""
    return show_page(_OWN_PAGE, "/me/courses", subject=current_subject())
