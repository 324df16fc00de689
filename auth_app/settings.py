"""Read the settings of the authorization server from its environment."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import NoDecode

from shared.settings import Settings, Url
from shared.verification import MAXIMUM_LIFETIME


def _split(value: object) -> object:
    return value.replace(",", " ").split() if isinstance(value, str) else value


class AuthSettings(Settings):
    """What the authorization server knows."""

    resources: Annotated[tuple[Url, ...], NoDecode, BeforeValidator(_split)] = ("http://127.0.0.1:8082",)
    jwt_private_key: SecretStr | None = None
    jwt_private_key_file: Path = Path("keys/private_key.pem")
    auth_database_url: SecretStr = SecretStr("sqlite:///auth.db")
    access_token_lifetime: int = Field(default=900, gt=0, le=MAXIMUM_LIFETIME, description="In seconds.")

    @model_validator(mode="after")
    def _take_one_private_key(self) -> Self:
        if self.jwt_private_key and "jwt_private_key_file" in self.model_fields_set:
            raise ValueError("JWT_PRIVATE_KEY and JWT_PRIVATE_KEY_FILE are both set: keep one of them")
        return self
