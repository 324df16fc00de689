"""The errors of the course service itself: their status, `error` code and sentence."""

from shared.errors import ApiError


class NotYours(ApiError):
    """The token's subject is not the owner of the course."""

    status = 403
    error = "access_denied"
    description = "Only the owner of this course may change or delete it."


class CourseFull(ApiError):
    """Every seat of a course is taken."""

    status = 409
    error = "course_full"
    description = "All seats of this course are taken."


class CapacityTooSmall(ApiError):
    """The new capacity is smaller than the number of enrolled users."""

    status = 409
    error = "capacity_too_small"
    description = "More users are enrolled in this course than the new capacity allows."
