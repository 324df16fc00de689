"""The settings that both services have, and how settings are read from the environment and checked."""

import re
from pathlib import Path
from typing import Annotated, Literal, NamedTuple, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from flask_resource_server.exceptions import ConfigurationError


def _check_url(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("give an absolute URL, such as https://service.example.com")
    if parts.port == 0:  # reading `port` raises `ValueError` if it is not a number
        raise ValueError("give a port from 1 to 65535")
    if parts.query or parts.fragment or parts.username or url.endswith("/"):
        raise ValueError("give the URL without credentials, query, fragment and closing slash")
    return url


# A name or an IPv4 address, or an IPv6 address in brackets; no user, path or pattern fits.
_ORIGIN = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[1-9][0-9]*)?")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _check_origin(origin: str) -> str:
    """Raise `ValueError` for text that no browser sends as an Origin, and that would never match one."""
    if not _ORIGIN.fullmatch(origin):
        raise ValueError(
            "give each origin in full and in lower case, without path, wildcard and closing slash, "
            "such as https://app.example.com or http://localhost:3000"
        )
    parts = urlsplit(_check_url(origin))
    if parts.port == _DEFAULT_PORTS[parts.scheme]:
        raise ValueError("leave out the ports 443 of https and 80 of http: browsers do not send them")
    return origin


def split_words(value: object) -> object:
    """Split text at commas and spaces, for settings that are lists; return other values unchanged."""
    return value.replace(",", " ").split() if isinstance(value, str) else value


class Unit(NamedTuple):
    """What the number in a setting counts; docs/reference/settings.md states it."""

    name: str


Seconds = Annotated[int, Unit("seconds")]
# An issuer or a resource server. Compared character by character (RFC 8414 section 3.3, RFC 8707 section 2).
Url = Annotated[str, AfterValidator(_check_url)]
# The scheme, host and port of a web page, as in the Origin header (RFC 6454 section 6.1).
Origin = Annotated[str, AfterValidator(_check_origin)]


class Settings(BaseSettings):
    """The settings that every service has: who issues tokens, and the public keys that verify them.

    Each setting has a description, from which docs/reference/settings.md and .env.example are generated.
    """

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    # == URLs and CORS
    issuer: Url = Field(
        default="http://127.0.0.1:8081",
        description="Public URL of `auth_app`. Tokens carry it as `iss`, and services compare it character "
        "by character, so set the same value for every service. An `https` URL also makes the cookies of "
        "the sign-in page secure.",
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(split_words)] = Field(
        default=(),
        description="Origins of the web applications whose scripts may call the API, such as "
        "`https://app.example.com`, separated by commas or spaces. There are no wildcards. Any origin may "
        "read `/.well-known/*` and `/openapi.json`.",
    )
    trusted_proxies: int = Field(
        default=0,
        ge=0,
        description="Number of reverse proxies in front of the service. It takes the client's address from "
        "`X-Forwarded-For` and the path prefix from `X-Forwarded-Prefix`, as that many proxies report them. "
        "With `0` it ignores both headers, because any client can send them.",
    )

    # == public keys
    jwt_public_key_file: Path = Field(
        default=Path("keys/public_key.pem"),
        description="PEM file of one or more public keys. The service follows changes: a key that you add "
        "verifies tokens at once, and a key that you remove stops within 50 ms.",
    )
    jwt_public_key: str | None = Field(
        default=None,
        description="Public keys as PEM text, instead of `JWT_PUBLIC_KEY_FILE`. Line breaks may be written "
        "as `\\n`. The service must restart to see a change.",
    )

    # == metrics
    metrics: Literal["on", "off"] = Field(
        default="on", description="Whether the service has `/metrics`, for Prometheus."
    )
    metrics_port: int | None = Field(
        default=None,
        gt=0,
        lt=65536,
        description="The only port at which `/metrics` responds. Add a second `--bind` to gunicorn for it. "
        "If unset, every port responds, and the reverse proxy has to block the path.",
    )

    @model_validator(mode="after")
    def _take_one_public_key(self) -> Self:
        if self.jwt_public_key and "jwt_public_key_file" in self.model_fields_set:
            raise ValueError("JWT_PUBLIC_KEY and JWT_PUBLIC_KEY_FILE are both set: keep one of them")
        return self


S = TypeVar("S", bound=Settings)


def load_settings(kind: type[S]) -> S:
    """Read the settings of class `kind` from the environment and from `.env`.

    Raises a `ConfigurationError` that lists all problems, but no values, because a value may be a secret.
    """
    try:
        return kind()
    except ValidationError as error:
        raise ConfigurationError("; ".join(_describe(problem) for problem in error.errors())) from None


def _describe(problem: ErrorDetails) -> str:
    name = "".join(f"{part}: " for part in problem["loc"][:1]).upper()
    return name + problem["msg"].removeprefix("Value error, ")
