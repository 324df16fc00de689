"""The refusals of the authorization server: an error code of an RFC each, in fixed sentences."""

from shared.errors import ApiError


class InvalidClient(ApiError):
    """The client is unknown, sent no secret or a wrong one (RFC 6749 section 5.2)."""

    status = 401
    error = "invalid_client"
    description = "The client is unknown, or its credentials are missing or wrong."

    @property
    def headers(self) -> dict[str, str]:
        """Return the challenge of HTTP Basic (RFC 7617)."""
        return {"WWW-Authenticate": 'Basic realm="clients"'}


class InvalidGrant(ApiError):
    """The user is not known by this name and password, or is disabled: the answer does not say which.

    A refresh token is refused by the same code (RFC 6749 section 5.2).
    """

    error = "invalid_grant"
    description = "The user name or the password is wrong."


class UnauthorizedClient(ApiError):
    """The client may not use this grant type (RFC 6749 section 5.2)."""

    error = "unauthorized_client"
    description = "The client is not registered for this grant type."


class CrossSiteRequest(ApiError):
    """A page of another site had a browser send this: its guesses would make the visitor wait."""

    status = 403
    error = "access_denied"
    description = "Pages of other sites must not send this request, unless CORS_ORIGINS lists their origin."


class UnsupportedGrantType(ApiError):
    """The server does not answer grants of this type (RFC 6749 section 5.2)."""

    error = "unsupported_grant_type"
    description = "This server does not support this grant type."


class InvalidScope(ApiError):
    """More was asked for than may be had (RFC 6749 section 5.2)."""

    error = "invalid_scope"
    description = "A requested scope is not granted to this user, client or session."


class InvalidTarget(ApiError):
    """A resource server was named that tokens may not be for (RFC 8707 section 2)."""

    error = "invalid_target"
    description = "A requested resource is not available to this client or session."


class InvalidPassword(ApiError):
    """The current password is wrong, or the new one breaks a rule."""

    error = "invalid_password"
    description = "The current password is wrong."

    def __init__(self, description: str | None = None, text: str = "wrong_password") -> None:
        super().__init__(description)
        self.text = text  # the name of what a page says


class UsernameTaken(ApiError):
    """Another user has this name."""

    status = 409
    error = "username_taken"
    description = "A user with this name already exists."


class UserChanged(ApiError):
    """A user is not, or no longer, as whoever wants a change has read it (RFC 9110 section 13.1.1)."""

    status = 412
    error = "precondition_failed"
    description = "The user has changed since you read it. Read it again and retry."


class OwnAccount(ApiError):
    """Administrators manage others: so one is always left, and nobody gets around the current password."""

    status = 403
    error = "access_denied"
    description = "Administrators cannot change their own account. Ask another one, or use the command line."


class TooManyAttempts(ApiError):
    """Logins failed too often, for this account or from this address (RFC 6585 section 4)."""

    status = 429
    error = "too_many_attempts"
    description = "Too many login attempts have failed. Try again later."

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds

    @property
    def headers(self) -> dict[str, str]:
        """Return how many seconds to wait."""
        return {"Retry-After": str(self.seconds)}
