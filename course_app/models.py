"""What the course service remembers. A subject is a token's `sub`: users are known by nothing else here."""

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from course_app.database import Base


class Course(Base):
    """Something that can be learned."""

    __tablename__ = "courses"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(String(2000))
    capacity: Mapped[int | None]  # seats; None: as many as come
    enrolled: Mapped[int] = mapped_column(default=0)  # how many seats are taken
    owner: Mapped[str | None] = mapped_column(String(255))  # the subject who made it, if anybody
    version: Mapped[int] = mapped_column(default=1)


class Enrolment(Base):
    """A seat that is taken."""

    __tablename__ = "enrolments"

    subject: Mapped[str] = mapped_column(String(255), primary_key=True)
    course_id: Mapped[int] = mapped_column(
        ForeignKey("courses.id", ondelete="CASCADE"), primary_key=True, index=True
    )
