"""Define the settings of the authorization server, their defaults and checks (environment variables)."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from flask_resource_server.tokens.checks import MAXIMUM_LIFETIME
from flask_resource_server.tokens.status_list import MAXIMUM_BYTES
from shared.settings import Settings, Url, split_words

# OWASP's minimum memory for argon2id in KiB, by the number of passes.
ARGON2_MINIMA = {1: 47104, 2: 19456, 3: 12288, 4: 9216, 5: 7168}


class AuthSettings(Settings):
    """The settings of the authorization server: each is the environment variable of the same name."""

    resources: Annotated[tuple[Url, ...], NoDecode, BeforeValidator(split_words)] = ("http://127.0.0.1:8082",)
    jwt_private_key: SecretStr | None = None
    jwt_private_key_file: Path = Path("keys/private_key.pem")
    revoked_keys_file: Path = Field(
        default=Path("instance/revoked_keys"), description="Never restored from a backup."
    )
    auth_database_url: SecretStr = SecretStr("sqlite:///auth.db")
    access_token_lifetime: int = Field(default=900, gt=0, le=MAXIMUM_LIFETIME, description="In seconds.")
    # Counted from the login; refreshing does not extend it. NIST SP 800-63B section 2.1.3 asks for a new
    # login after 30 days at the latest.
    refresh_token_lifetime: int = Field(default=30 * 86400, gt=0, description="In seconds.")
    refresh_token_grace: int = Field(
        default=10, ge=0, le=300, description="Seconds in which a client may retry a refresh; 0: none."
    )
    sessions_per_user: int = Field(
        default=100, gt=0, description="Live sessions of one user; a login beyond ends the oldest."
    )
    browser_session_idle: int = Field(
        default=12 * 3600, gt=0, description="Seconds after which a browser that is not used is signed out."
    )
    browser_session_lifetime: int = Field(
        default=7 * 86400,
        gt=0,
        description="Seconds from the sign-in after which a browser is signed out.",
    )
    jwks_max_age: int = Field(
        default=300, gt=0, description="Seconds for which verifiers may keep the key set."
    )
    status_list_size: int = Field(default=2**20, ge=1024, le=8 * MAXIMUM_BYTES, description="Sessions.")
    status_list_ttl: int = Field(default=30, gt=0, description="Seconds from one look at a list to the next.")
    status_list_lifetime: int = Field(
        default=3600, gt=1, description="Seconds for which a list is good where no newer one can be had."
    )
    backchannel_logout_networks: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(split_words)
    ] = Field(default=(), description="Private networks, such as 10.0.0.0/8, to which logouts are sent too.")
    brand_name: str = Field(default="Sign-in service", description="Whose sign-in page it is.")
    brand_colour: str = Field(
        default="#2f5fd0", pattern="^#[0-9a-fA-F]{6}$", description="Of the buttons, such as #2f5fd0."
    )
    brand_logo: Path | None = Field(default=None, description="A .svg, .png, .jpg or .webp file.")
    page_texts_file: Path | None = Field(
        default=None, description="A JSON object with other texts for the pages, by their names."
    )
    self_registration: bool = False
    password_grant: Literal["on", "off"] = Field(
        default="on", description="Whether clients that may can log users in by their passwords."
    )
    argon2_memory: int = Field(default=19456, le=4 * 1024 * 1024, description="In KiB.")
    argon2_passes: int = Field(default=2, gt=0, le=100)
    password_hashes_at_once: int = Field(default=2, gt=0, description="In each worker process.")

    @property
    def audience(self) -> tuple[str, ...]:
        """Return every server that tokens may be for, this one included."""
        return (self.issuer, *self.resources)

    @model_validator(mode="after")
    def _take_one_private_key(self) -> Self:
        if self.jwt_private_key and "jwt_private_key_file" in self.model_fields_set:
            raise ValueError("JWT_PRIVATE_KEY and JWT_PRIVATE_KEY_FILE are both set: keep one of them")
        return self

    @model_validator(mode="after")
    def _check_status_lists(self) -> Self:
        if self.status_list_lifetime < 2 * self.status_list_ttl:
            raise ValueError("STATUS_LIST_LIFETIME is too short: set it to twice STATUS_LIST_TTL or more")
        return self

    @model_validator(mode="after")
    def _check_argon2(self) -> Self:
        minimum = ARGON2_MINIMA[min(self.argon2_passes, max(ARGON2_MINIMA))]
        if self.argon2_memory < minimum:
            raise ValueError(
                f"ARGON2_MEMORY is below OWASP's minimum: with ARGON2_PASSES={self.argon2_passes} set it to "
                f"{minimum} or more"
            )
        return self
