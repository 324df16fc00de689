"""What the course service remembers."""

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from course_app.database import Base


class Course(Base):
    """Something that can be learned."""

    __tablename__ = "courses"

    id: Mapped[int] = mapped_column(primary_key=True)
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(String(2000))
