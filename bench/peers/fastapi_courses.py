"""FastAPI with SQLAlchemy and a response model: the page that `course_app` reads, from the same database."""

import os
from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Query
from pydantic import BaseModel, ConfigDict
from sqlalchemy import String, bindparam, create_engine, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from bench.peers.fastapi_token import CurrentUser

engine = create_engine(os.environ["COURSE_DATABASE_URL"])
app = FastAPI()


class Base(DeclarativeBase):
    """The base class of the tables."""


class Course(Base):
    """A row of the table that `course_app` created, with the columns that are shown."""

    __tablename__ = "courses"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(String(2000))
    capacity: Mapped[int | None]


class ShownCourse(BaseModel):
    """A course in the response."""

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


Limit = Annotated[int, Query(ge=1, le=100)]
After = Annotated[int, Query(ge=0, le=999999999)]


@app.get("/courses", response_model=Page)
def list_courses(
    _user: CurrentUser,
    session: Annotated[Session, Depends(get_session)],
    limit: Limit = 20,
    after: After = 0,
) -> dict[str, Any]:
    """Return one page of the courses as the documentation shows: objects of a session from a dependency."""
    found = select(Course).where(Course.id > after).order_by(Course.id).limit(limit + 1)
    return present(session.scalars(found).all(), limit)


# Created once, so that SQLAlchemy finds it in its cache of compiled statements.
PAGE = (
    select(Course.id, Course.title, Course.description, Course.capacity)
    .where(Course.id > bindparam("after"))
    .order_by(Course.id)
    .limit(bindparam("limit"))
)


@app.get("/courses-bare", response_model=Page)
def list_courses_bare(_user: CurrentUser, limit: Limit = 20, after: After = 0) -> dict[str, Any]:
    """Return the same in the fastest way: rows from a connection, and a statement created once."""
    with engine.connect() as connection:
        found = connection.execute(PAGE, {"after": after, "limit": limit + 1}).all()
    return present(found, limit)


def present(found: Sequence[Any], limit: int) -> dict[str, Any]:
    """Return the values for the response model."""
    last = found[limit - 1].id if len(found) > limit else None
    return {
        "courses": found[:limit],
        "next": f"/courses?limit={limit}&after={last}" if last else None,
    }
