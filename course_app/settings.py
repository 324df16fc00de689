"""The settings of the course service, which refuses to start if it is given a private key."""

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import DotEnvSettingsSource, EnvSettingsSource

from flask_resource_server.documents.files import POLL_INTERVAL
from flask_resource_server.tokens import Issuer
from flask_resource_server.tokens.public_keys import open_keys
from shared.settings import Seconds, Settings, Url


class CourseSettings(Settings):
    """The settings of the course service. It accepts tokens, and refuses to start if it could sign them."""

    # == URL, database and docs page
    resource: Url = Field(
        default="http://127.0.0.1:8082",
        description="This service's own URL. A token must name it in `aud`; `auth_app` issues tokens for it "
        "once it is in `RESOURCES`.",
    )
    course_database_url: SecretStr = Field(
        default=SecretStr("sqlite:///course.db"),
        description="Database of courses and enrolments: SQLite, or "
        "`postgresql://user:password@host/database`. A relative SQLite path is in `instance/`.",
    )
    docs_client_id: str | None = Field(
        default=None,
        description="ID of a public client with which users sign in on the docs page. Its redirect URI is "
        "`/docs/oauth2-redirect` of this service, and `CORS_ORIGINS` of `auth_app` must name the page's "
        "origin. If unset, users paste a token.",
    )

    # == keys of the issuer
    jwks_url: Url | None = Field(
        default=None,
        description="URL of a JWK Set to fetch public keys from, instead of `JWT_PUBLIC_KEY_FILE`: "
        "`/.well-known/jwks.json` of `auth_app`. Use it if the services share no disk, so that you need not "
        "copy keys after a rotation.",
    )
    jwks_refresh: Seconds = Field(
        default=60,
        gt=0,
        description="Longest time between two fetches of `JWKS_URL`. One worker per host fetches for all. "
        "It bounds how long a revoked key still verifies tokens.",
    )
    jwks_cooldown: Seconds = Field(
        default=10,
        gt=0,
        description="Shortest time between two fetches of `JWKS_URL`, whatever `kid` tokens name. It keeps "
        "forged tokens from causing requests to `auth_app`.",
    )
    copies: Path = Field(
        default=Path("instance"),
        description="Folder for the last good keys and status lists. The workers of a host share it, "
        "and the service can restart from it while `auth_app` is down. If it is not writable, each process "
        "keeps them in memory.",
    )

    # == status lists
    status_claim: Literal["optional", "required", "ignored"] = Field(
        default="optional",
        description="What to do with a token without a `status` claim, which cannot be revoked: accept it "
        "(`optional`) or refuse it (`required`). `ignored` accepts every token until it expires, without "
        "fetching status lists: for a service that cannot reach `auth_app`.",
    )
    stale_status_lists: Literal["refuse", "accept"] = Field(
        default="refuse",
        description="What to do with a token whose status list has expired and cannot be fetched: "
        "respond with 503 (`refuse`) or accept the token, which may have been revoked (`accept`).",
    )
    status_lists_url: Url | None = Field(
        default=None,
        description="Where to fetch the status lists, if this service cannot reach `ISSUER`, "
        "such as `http://auth:8081/.well-known/status-list`.",
    )

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
