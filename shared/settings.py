"""The settings that both services have, and how settings are read from the environment and checked."""

import re
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar
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


# The URL of an issuer or of a resource server, which is compared character by character (RFC 8414 section
# 3.3, RFC 8707 section 2).
Url = Annotated[str, AfterValidator(_check_url)]
# The scheme, host and port of a web page, as in the Origin header (RFC 6454 section 6.1).
Origin = Annotated[str, AfterValidator(_check_origin)]


class Settings(BaseSettings):
    """The settings of every service: the issuer of tokens and its public keys, proxies, CORS and metrics."""

    model_config = SettingsConfigDict(
        env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    issuer: Url = "http://127.0.0.1:8081"
    jwt_public_key: str | None = None
    jwt_public_key_file: Path = Path("keys/public_key.pem")
    trusted_proxies: int = Field(
        default=0, ge=0, description="Whose X-Forwarded-For and X-Forwarded-Prefix are trusted."
    )
    cors_origins: Annotated[tuple[Origin, ...], NoDecode, BeforeValidator(split_words)] = Field(
        default=(), description="The origins of web applications whose scripts may use the API."
    )
    metrics: Literal["on", "off"] = "on"
    metrics_port: int | None = Field(default=None, gt=0, lt=65536, description="The only one with /metrics.")

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
