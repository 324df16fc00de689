"""Define the settings of the authorization server, their defaults and checks (environment variables)."""

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from flask_resource_server.tokens.checks import MAXIMUM_LIFETIME
from flask_resource_server.tokens.status_list import MAXIMUM_BYTES
from shared.settings import Seconds, Settings, Unit, Url, split_words

# OWASP's minimum memory for argon2id in KiB, by the number of passes.
ARGON2_MINIMA = {1: 47104, 2: 19456, 3: 12288, 4: 9216, 5: 7168}


class AuthSettings(Settings):
    """The settings of the authorization server."""

    # == services and database
    resources: Annotated[tuple[Url, ...], NoDecode, BeforeValidator(split_words)] = Field(
        # course_app and, for newcomers, a first service of their own
        default=("http://127.0.0.1:8082", "http://127.0.0.1:8083"),
        description="URLs of the services that tokens may be for, separated by commas or spaces. Each is "
        "the `RESOURCE` of a service, spelled in the same way. Set it in production: the default names "
        "loopback addresses.",
    )
    auth_database_url: SecretStr = Field(
        default=SecretStr("sqlite:///auth.db"),
        description="Database of users, clients and sessions: SQLite, or "
        "`postgresql://user:password@host/database`. A relative SQLite path is in `instance/`.",
    )

    # == signing keys
    jwt_private_key_file: Path = Field(
        default=Path("keys/private_key.pem"),
        description="PEM file of the private key that signs tokens. Its mode must be 0600, or 0640 if root "
        "owns it. Set it for `auth_app` alone.",
    )
    jwt_private_key: SecretStr | None = Field(
        default=None,
        description="Private signing key as PEM text, instead of `JWT_PRIVATE_KEY_FILE`. Set "
        "`JWT_PUBLIC_KEY` too. `keys rotate` cannot change a variable, so prefer the file.",
    )
    revoked_keys_file: Path = Field(
        default=Path("instance/revoked_keys"),
        description="Record of the signing keys that were revoked, which never sign or verify again. "
        "Replicas of `auth_app` share it. Keep it out of backups: restoring an older record would bring "
        "revoked keys back.",
    )
    jwks_max_age: Seconds = Field(
        default=300,
        gt=0,
        description="How long services may cache the key set. `keys rotate` waits that long before a new "
        "key signs, so a lower value makes rotations faster and fetches more frequent.",
    )

    # == tokens and sessions
    access_token_lifetime: Seconds = Field(
        default=900,
        gt=0,
        le=MAXIMUM_LIFETIME,
        description="Lifetime of an access token. Services that ignore status lists accept a token for "
        "this long after a logout.",
    )
    # NIST SP 800-63B section 2.1.3 asks for a new login after 30 days at the latest.
    refresh_token_lifetime: Seconds = Field(
        default=30 * 86400,
        gt=0,
        description="Time from a login until the user has to log in again, however often the client "
        "refreshes.",
    )
    refresh_token_grace: Seconds = Field(
        default=10,
        ge=0,
        le=300,
        description="How long a client may repeat a refresh whose response it lost: it gets the same new "
        "token again, until that one is used. With `0` every reuse of a refresh token revokes its session.",
    )
    sessions_per_user: Annotated[int, Unit("sessions")] = Field(
        default=100,
        gt=0,
        description="Live sessions that a user may have. Another login ends the oldest one. The same number "
        "limits the browsers in which a user is signed in.",
    )

    # == status lists
    status_list_ttl: Seconds = Field(
        default=30,
        gt=0,
        description="How often services fetch the status lists, the signed lists of revoked sessions. It "
        "bounds how long a service accepts a revoked token; a cache in between can double that.",
    )
    status_list_lifetime: Seconds = Field(
        default=3600,
        gt=1,
        description="How long services may rely on a status list while they cannot fetch a newer one. Lists "
        "are renewed at half their lifetime, so a copy is good for at least half of this time. Must be at "
        "least twice `STATUS_LIST_TTL`.",
    )
    status_list_size: Annotated[int, Unit("sessions")] = Field(
        default=2**20,
        ge=1024,
        le=8 * MAXIMUM_BYTES,
        description="Sessions in one status list. When a list is full, another one is started.",
    )

    # == sign-in page
    browser_session_idle: Seconds = Field(
        default=12 * 3600,
        gt=0,
        description="Time without use after which a browser is signed out. Lower it where users share "
        "computers.",
    )
    browser_session_lifetime: Seconds = Field(
        default=7 * 86400,
        gt=0,
        description="Time after a sign-in at which a browser is signed out, used or not.",
    )
    brand_name: str = Field(
        default="Sign-in service", description="Name of your organization or product on the sign-in page."
    )
    brand_colour: str = Field(
        default="#2f5fd0",
        pattern="^#[0-9a-fA-F]{6}$",
        description="Colour of the buttons. The text on them is black or white, whichever is easier to read.",
    )
    brand_logo: Path | None = Field(
        default=None,
        description="Logo on the sign-in page: a `.svg`, `.png`, `.jpg` or `.webp` file that the service "
        "can read.",
    )
    page_texts_file: Path | None = Field(
        default=None,
        description="JSON file that replaces texts of the pages, for another language or other words, such "
        'as `{"language": "de", "sign_in": "Anmelden"}`. The names are those in `auth_app/pages/texts.py`.',
    )
    backchannel_logout_networks: Annotated[
        tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(split_words)
    ] = Field(
        default=(),
        description="Private networks that logout notices may be sent to, such as `10.1.0.0/16`, separated "
        "by commas or spaces. Public addresses need no setting. Name the smallest networks that do: anyone "
        "who may register a client can have a POST sent to any address in them.",
    )

    # == passwords and accounts
    password_grant: Literal["on", "off"] = Field(
        default="on",
        description="Whether clients that were added with `--grant password` may log users in by their "
        "passwords. Turn it off when every application uses the sign-in page.",
    )
    self_registration: bool = Field(
        default=False, description="Whether anyone may create an account, as a student, with `POST /users`."
    )
    argon2_memory: Annotated[int, Unit("KiB")] = Field(
        default=19456,
        le=4 * 1024 * 1024,
        description="Memory for one password hash (argon2id). The service refuses less than OWASP "
        "recommends for the number of passes. Existing hashes are replaced at the next login.",
    )
    argon2_passes: Annotated[int, Unit("passes")] = Field(
        default=2, gt=0, le=100, description="Passes over that memory."
    )
    password_hashes_at_once: Annotated[int, Unit("hashes")] = Field(
        default=2,
        gt=0,
        description="Password hashes that one worker computes at the same time. A login that waits for more "
        "than half a second gets 503. Each takes `ARGON2_MEMORY`, and a processor core while it runs.",
    )

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
