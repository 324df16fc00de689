"""What the course service refuses by itself."""

from shared.errors import ApiError


class NotYours(ApiError):
    """A course is changed by whoever made it, and by nobody else."""

    status = 403
    error = "access_denied"
    description = "Only the owner of this course may change or delete it."


class CourseFull(ApiError):
    """Every seat of a course is taken."""

    status = 409
    error = "course_full"
    description = "All seats of this course are taken."


class CapacityTooSmall(ApiError):
    """A course has more people already than it is to have seats."""

    status = 409
    error = "capacity_too_small"
    description = "More users are enrolled in this course than the new capacity allows."
