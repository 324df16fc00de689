"""Read the kit's settings, from arguments and `app.config`: those of an issuer are fields of `Issuer`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any

from flask import Flask

from flask_resource_server.exceptions import ConfigurationError
from flask_resource_server.tokens.issuers import Issuer, check_url

_OF_ISSUER = {field.name for field in fields(Issuer)} - {"url"}
_NAMES = {"resource", "issuer", "issuers"} | _OF_ISSUER


@dataclass(frozen=True)
class Settings:
    """The service's own URL, and the issuers that it trusts."""

    resource: str
    """This service's own URL, without a slash at the end. A token must name it in `aud`."""

    issuers: tuple[Issuer, ...]
    """Several authorization servers, instead of `ISSUER`: a list of objects with `url` and the settings of an
    issuer. The `iss` of a token chooses one of them.
    """


def read_settings(app: Flask, prefix: str, given: Mapping[str, Any]) -> Settings:
    """Return the settings from `given` (keyword arguments), or else from `app.config` under `prefix`.

    None and the empty string count as not set. Raises `ConfigurationError`, also for an unknown name, which
    may be a misspelled one.
    """
    configured = {
        name.removeprefix(prefix).lower(): value
        for name, value in app.config.items()
        if name.startswith(prefix)
    }
    _check_names(configured, prefix)
    _check_names(given, "")
    values = {
        name: value for name, value in {**configured, **given}.items() if value is not None and value != ""
    }
    resource = values.pop("resource", None)
    if resource is None:
        raise ConfigurationError(_describe_missing(f"{prefix}RESOURCE", "this service's own URL"))
    check_url("RESOURCE", resource)
    return Settings(resource, tuple(_read_issuers(values, prefix)))


def _describe_missing(name: str, value: str) -> str:
    how = f"as {name} in app.config, or as FLASK_{name} with from_prefixed_env()"
    return f"{name} is not set: set it to {value}, {how}"


def _check_names(values: Iterable[str], prefix: str) -> None:
    for name in values:
        if name not in _NAMES:
            similar = get_close_matches(name, _NAMES, n=1) or sorted(_NAMES)
            known = ", ".join(f"{prefix}{one.upper()}" if prefix else one for one in similar)
            hint = f"did you mean {known}?" if len(similar) == 1 else f"there are {known}"
            raise ConfigurationError(f"{prefix}{name.upper() if prefix else name}: no such setting; {hint}")


def _read_issuers(values: dict[str, Any], prefix: str) -> list[Issuer]:
    """Return the issuers in ISSUERS, or the one that ISSUER and the other settings describe."""
    several = values.pop("issuers", None)
    if several is None:
        if "issuer" not in values:
            raise ConfigurationError(
                _describe_missing(f"{prefix}ISSUER", "the URL of the authorization server")
            )
        return [Issuer(values.pop("issuer"), **values)]
    if values:
        names = ", ".join(sorted(values)).upper()
        raise ConfigurationError(f"ISSUERS and {names} are both set: move {names} into each of ISSUERS")
    issuers = [one if isinstance(one, Issuer) else _make_issuer(one) for one in several]
    if not issuers or len({issuer.url for issuer in issuers}) != len(issuers):
        raise ConfigurationError("ISSUERS must have at least one issuer, and each URL only once")
    return issuers


def _make_issuer(values: Any) -> Issuer:
    if not isinstance(values, dict) or not values.keys() <= _OF_ISSUER | {"url"} or "url" not in values:
        names = ", ".join(sorted(_OF_ISSUER))
        raise ConfigurationError(f"each of ISSUERS must be an object with url, and may have {names}")
    return Issuer(**values)
