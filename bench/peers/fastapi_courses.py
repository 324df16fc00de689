"""FastAPI with SQLAlchemy and a response model: the page that `course_app` reads, from the same database."""

import os
from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import String, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bench.peers.fastapi_token import CurrentUser

engine = create_engine(os.environ["COURSE_DATABASE_URL"])
app = FastAPI()


class Base(DeclarativeBase):
    """The base class of the tables."""


class Course(Base):
    """A row of the table that `course_app` made, without the columns that are not shown."""

    __tablename__ = "courses"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(String(2000))
    capacity: Mapped[int | None]


class ShownCourse(BaseModel):
    """A course as it is answered."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    title: str
    description: str
    capacity: int | None


class Page(BaseModel):
    """A page of courses, and the path of the next one."""

    courses: list[ShownCourse]
    next: str | None


def get_session() -> Iterator[Session]:
    """Open a session for one request."""
    with Session(engine) as session:
        yield session


@app.get("/courses")
def list_courses(
    _user: CurrentUser,
    session: Annotated[Session, Depends(get_session)],
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    after: Annotated[int, Query(ge=0, le=999999999)] = 0,
) -> Page:
    """Return one page of the courses."""
    found = select(Course).where(Course.id > after).order_by(Course.id).limit(limit + 1)
    courses = session.scalars(found).all()
    page = [ShownCourse.model_validate(course) for course in courses[:limit]]
    has_next = len(courses) > limit
    return Page(courses=page, next=f"/courses?limit={limit}&after={page[-1].id}" if has_next else None)
