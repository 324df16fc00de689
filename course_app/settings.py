"""Read the settings of the course service from its environment."""

from pydantic import SecretStr

from shared.settings import ResourceServerSettings


class CourseSettings(ResourceServerSettings):
    """What the course service knows."""

    course_database_url: SecretStr = SecretStr("sqlite:///course.db")
