"""Exceptions about the state of the service: wrong configuration, degraded, or unable to verify now."""


class ConfigurationError(Exception):
    """Settings or keys that the service cannot start with. The message, one line, says how to fix them."""


class Degraded(Exception):
    """The service works for now, but needs its operator; the message says why. `details` are public."""

    def __init__(self, problem: str, **details: object) -> None:
        super().__init__(problem)
        self.details = details


class Undetermined(Exception):
    """It cannot be determined now whether a token is good: respond with 503, never with 401.

    A 401 would make the client discard a token that may be good.
    """
