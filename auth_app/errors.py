"""Define the error responses of the authorization server: one class for each error code."""

from shared.errors import ApiError


class InvalidClient(ApiError):
    """The client is unknown, or failed to authenticate (RFC 6749 section 5.2)."""

    status = 401
    error = "invalid_client"
    description = "The client is unknown, or its credentials are missing or wrong."

    @property
    def headers(self) -> dict[str, str]:
        """Return the HTTP Basic challenge (RFC 7617)."""
        return {"WWW-Authenticate": 'Basic realm="clients"'}


class InvalidGrant(ApiError):
    """The user name or password is wrong, or the user is disabled: the response does not reveal which.

    Authorization codes and refresh tokens are refused with the same code (RFC 6749 section 5.2).
    """

    error = "invalid_grant"
    description = "The user name or the password is wrong."


class UnauthorizedClient(ApiError):
    """The client may not use this grant type (RFC 6749 section 5.2)."""

    error = "unauthorized_client"
    description = "The client is not registered for this grant type."


class CrossOriginRequest(ApiError):
    """A page of another origin sent the request: its guesses would get the visitor throttled."""

    status = 403
    error = "access_denied"
    description = "Pages of other origins must not send this request, unless CORS_ORIGINS lists their origin."


class UnsupportedGrantType(ApiError):
    """The server does not support this grant type (RFC 6749 section 5.2)."""

    error = "unsupported_grant_type"
    description = "This server does not support this grant type."


class InvalidScope(ApiError):
    """The requested scope exceeds what the user and the client may have (RFC 6749 section 5.2)."""

    error = "invalid_scope"
    description = "A requested scope is not granted to this user, client or session."


class InvalidTarget(ApiError):
    """The request names a resource server that its tokens may not be for (RFC 8707 section 2)."""

    error = "invalid_target"
    description = "A requested resource is not available to this client or session."


class InvalidPassword(ApiError):
    """The current password is wrong, or the new one breaks a rule."""

    error = "invalid_password"
    description = "The current password is wrong."

    def __init__(self, description: str | None = None, text: str = "wrong_password") -> None:
        super().__init__(description)
        self.text = text  # the name of the text that a page shows instead


class UsernameTaken(ApiError):
    """Another user has this name."""

    status = 409
    error = "username_taken"
    description = "A user with this name already exists."


class UserChanged(ApiError):
    """The user has changed since the client read it (RFC 9110 section 13.1.1)."""

    status = 412
    error = "precondition_failed"
    description = "The user has changed since you read it. Read it again and retry."


class OwnAccount(ApiError):
    """Administrators may not change their own account at `/users/<id>`.

    So there is always an administrator left, and nobody can skip the check of the current password.
    """

    status = 403
    error = "access_denied"
    description = "Administrators cannot change their own account. Ask another one, or use the command line."


class TooManyAttempts(ApiError):
    """Too many logins failed for this account or from this address (RFC 6585 section 4)."""

    status = 429
    error = "too_many_attempts"
    description = "Too many login attempts have failed. Try again later."

    def __init__(self, seconds: int) -> None:
        super().__init__()
        self.seconds = seconds

    @property
    def headers(self) -> dict[str, str]:
        """Return the seconds to wait."""
        return {"Retry-After": str(self.seconds)}
