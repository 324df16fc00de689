"""The settings of the course service, which refuses to start if it is given a private key."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from flask_resource_server.documents.files import POLL_INTERVAL
from flask_resource_server.tokens import Issuer
from flask_resource_server.tokens.public_keys import open_keys
from shared.settings import Settings, Url


class CourseSettings(Settings):
    """The settings of the course service. They must not contain a private key, which could sign tokens."""

    resource: Url = Field(default="http://127.0.0.1:8082", description="This service's own URL.")
    jwks_url: Url | None = None
    jwks_refresh: int = Field(default=60, gt=0, description="Seconds from one fetch to the next, at most.")
    jwks_cooldown: int = Field(default=10, gt=0, description="Seconds without one, whatever tokens name.")

    status_lists_url: Url | None = Field(default=None, description="Unless it is at ISSUER.")
    course_database_url: SecretStr = SecretStr("sqlite:///course.db")
    docs_client_id: str | None = Field(
        default=None, description="The public client as which people sign in from the docs page."
    )
    copies: Path = Field(default=Path("instance"), description="Where fetched keys and lists are kept.")
    status_claim: Literal["optional", "required", "ignored"] = "optional"
    stale_status_lists: Literal["refuse", "accept"] = "refuse"

    @model_validator(mode="after")
    def _take_one_source(self) -> Self:
        for name in ("jwt_public_key", "jwt_public_key_file"):
            if self.jwks_url and name in self.model_fields_set:
                raise ValueError(f"JWKS_URL and {name.upper()} are both set: keep one of them")
        return self

    @model_validator(mode="after")
    def _refuse_private_keys(self) -> Self:
        for source in (EnvSettingsSource(type(self)), DotEnvSettingsSource(type(self))):
            for name in source.env_vars:
                if name.upper().startswith("JWT_PRIVATE_KEY"):
                    raise ValueError(
                        f"{name.upper()} is set, but this service only verifies tokens and must not see a "
                        "private key: unset it here and set it for auth_app alone"
                    )
        return self

    @property
    def trusted_issuer(self) -> Issuer:
        """Return the issuer whose tokens are accepted, with its keys from JWKS_URL, PEM text or a PEM file.

        Raises `ConfigurationError`.
        """
        keys = open_keys(self.jwt_public_key, self.jwt_public_key_file, "JWT_PUBLIC_KEY", POLL_INTERVAL)
        return Issuer(
            self.issuer,
            public_keys=None if self.jwks_url else keys,
            jwks_url=self.jwks_url,
            jwks_refresh=self.jwks_refresh,
            jwks_cooldown=self.jwks_cooldown,
            status_claim=self.status_claim,
            stale_status_lists=self.stale_status_lists,
            status_lists_url=self.status_lists_url,
            copies=self.copies,
        )
