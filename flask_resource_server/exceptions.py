"""The errors that a service's operator has to deal with, and the one that no client is to blame for."""


class ConfigurationError(Exception):
    """What keeps a service from starting, in one line that says what is wrong and how to fix it."""


class Degraded(Exception):
    """A service can serve for now, but needs its operator: the message says why. `details` are public."""

    def __init__(self, problem: str, **details: object) -> None:
        super().__init__(problem)
        self.details = details


class Undetermined(Exception):
    """Whether a token is good cannot be determined now: answer 503, never 401.

    A 401 would tell the client to discard a token that may be good.
    """
