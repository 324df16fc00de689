"""The tables of the course service. Users are known only by their tokens' `sub`, the subject."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from course_app.database import Base


class Course(Base):
    """A course, with its owner and its number of seats."""

    __tablename__ = "courses"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(String(2000))
    capacity: Mapped[int | None]  # the number of seats; None: unlimited
    enrolled: Mapped[int] = mapped_column(default=0)  # the number of seats taken
    owner: Mapped[str | None] = mapped_column(String(255))  # the subject who added it; None: a demo course
    version: Mapped[int] = mapped_column(default=1)  # incremented by each change


class Enrolment(Base):
    """A seat that a subject has taken in a course."""

    __tablename__ = "enrolments"

    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    course_id: Mapped[int] = mapped_column(
        ForeignKey("courses.id", ondelete="CASCADE"), primary_key=True, index=True
    )
