"""The errors of the course service itself: their status, `error` code and sentence."""

from shared.errors import ApiError


class NotYours(ApiError):
    """The token's subject is not the owner of the course."""

    status = 403
    error = "access_denied"
    description = "Only whoever made this course may change it."


class CourseFull(ApiError):
    """Every seat of a course is taken."""

    status = 409
    error = "course_full"
    description = "Every seat of this course is taken."


class CapacityTooSmall(ApiError):
    """The new capacity is smaller than the number of enrolled users."""

    status = 409
    error = "capacity_too_small"
    description = "More people are enrolled already than there would be seats."
