"""Settings are read from the environment and typed; problems are reported together, without values."""

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

import course_app
from auth_app.settings import AuthSettings
from course_app.settings import CourseSettings
from flask_resource_server.exceptions import ConfigurationError
from shared.settings import load_settings
from tests.conftest import KeyPair
from tests.servers import ROOT

GOOD = {
    "ISSUER": "https://login.example.com",
    "RESOURCES": "https://a.example.com, https://b.example.com/api",
    "ACCESS_TOKEN_LIFETIME": "60",
    "AUTH_DATABASE_URL": "postgresql://u:secret@db/auth",
    "JWT_PRIVATE_KEY_FILE": "/run/secrets/private_key.pem",
}

BAD = {
    "ISSUER without a scheme": ({"ISSUER": "login.example.com"}, "ISSUER: give an absolute URL"),
    "ISSUER with a wrong scheme": ({"ISSUER": "ftp://login.example.com"}, "ISSUER: give an absolute URL"),
    "ISSUER with a slash": ({"ISSUER": "https://a.example.com/"}, "ISSUER: give the URL without"),
    "ISSUER with a query": ({"ISSUER": "https://a.example.com?x"}, "ISSUER: give the URL without"),
    "ISSUER with a password": ({"ISSUER": "https://u:secret@a.example.com"}, "ISSUER: give the URL without"),
    "one URL of RESOURCES": ({"RESOURCES": "https://a.example.com b"}, "RESOURCES: give an absolute URL"),
    "lifetime too long": ({"ACCESS_TOKEN_LIFETIME": "3601"}, "ACCESS_TOKEN_LIFETIME: "),
    "lifetime of zero": ({"ACCESS_TOKEN_LIFETIME": "0"}, "ACCESS_TOKEN_LIFETIME: "),
    "refresh lifetime of zero": ({"REFRESH_TOKEN_LIFETIME": "0"}, "REFRESH_TOKEN_LIFETIME: "),
    "negative grace period": ({"REFRESH_TOKEN_GRACE": "-1"}, "REFRESH_TOKEN_GRACE: "),
    "grace period too long": ({"REFRESH_TOKEN_GRACE": "301"}, "REFRESH_TOKEN_GRACE: "),
    "argon2 with too little memory": ({"ARGON2_MEMORY": "19455"}, "set it to 19456 or more"),
    "argon2 with one pass": ({"ARGON2_PASSES": "1"}, "set it to 47104 or more"),
    "argon2 with many passes": ({"ARGON2_PASSES": "9", "ARGON2_MEMORY": "7167"}, "set it to 7168 or more"),
    "argon2 without a pass": ({"ARGON2_PASSES": "0"}, "ARGON2_PASSES: "),
    "no password hashes": ({"PASSWORD_HASHES_AT_ONCE": "0"}, "PASSWORD_HASHES_AT_ONCE: "),
    "negative number of proxies": ({"TRUSTED_PROXIES": "-1"}, "TRUSTED_PROXIES: "),
    "not a boolean": ({"SELF_REGISTRATION": "secret"}, "SELF_REGISTRATION: "),
    "lifetime that is not a number": ({"ACCESS_TOKEN_LIFETIME": "secret"}, "ACCESS_TOKEN_LIFETIME: "),
    "two private keys": ({"JWT_PRIVATE_KEY": "secret", "JWT_PRIVATE_KEY_FILE": "x"}, "are both set"),
    "two public keys": ({"JWT_PUBLIC_KEY": "secret", "JWT_PUBLIC_KEY_FILE": "x"}, "are both set"),
}


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)

    settings = load_settings(AuthSettings)

    assert settings.issuer == "https://login.example.com"
    assert settings.resources == ("https://a.example.com", "https://b.example.com/api")
    assert settings.access_token_lifetime == 60
    assert settings.jwt_private_key_file == Path("/run/secrets/private_key.pem")
    assert settings.auth_database_url.get_secret_value() == GOOD["AUTH_DATABASE_URL"]


def test_env_file_supplies_settings_missing_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".env").write_text("ISSUER=https://file.example.com\nACCESS_TOKEN_LIFETIME=60\n")
    monkeypatch.setenv("ISSUER", "https://environment.example.com")

    settings = load_settings(AuthSettings)

    assert (settings.issuer, settings.access_token_lifetime) == ("https://environment.example.com", 60)


def test_example_file_states_the_defaults(tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text()
    lines = [line.removeprefix("#") for line in example.splitlines() if re.match("#[A-Z0-9_]+=", line)]
    (tmp_path / ".env").write_text("\n".join(lines))

    names = {line.partition("=")[0].lower() for line in lines}
    kinds = AuthSettings, CourseSettings
    assert names == {name for kind in kinds for name in kind.model_fields if "private" not in name}
    assert load_settings(AuthSettings) == AuthSettings.model_construct()
    assert load_settings(CourseSettings) == CourseSettings.model_construct()


@pytest.mark.parametrize(("environment", "problem"), BAD.values(), ids=BAD)
def test_error_names_the_bad_setting_but_not_its_value(
    environment: dict[str, str], problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=problem) as error:
        load_settings(AuthSettings)

    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_all_problems_are_reported_together(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ISSUER", "RESOURCES", "ACCESS_TOKEN_LIFETIME"):
        monkeypatch.setenv(name, "x")

    with pytest.raises(ConfigurationError, match=r"ISSUER: .*; RESOURCES: .*; ACCESS_TOKEN_LIFETIME: "):
        load_settings(AuthSettings)


@pytest.mark.parametrize("url", ["nonsense", "magic://host/db", "sqlite+magic://"])
def test_bad_database_url_is_refused(
    url: str, key_pair: KeyPair, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COURSE_DATABASE_URL", url)
    monkeypatch.setenv("JWT_PUBLIC_KEY_FILE", str(key_pair.public_file))

    with pytest.raises(SystemExit):
        course_app.create_app()

    line = capsys.readouterr().err
    assert line.startswith("course_app cannot start: COURSE_DATABASE_URL is not a database URL")
    assert url not in line


def test_secrets_are_not_in_the_repr_of_the_settings() -> None:
    settings = AuthSettings(
        jwt_private_key=SecretStr("top-secret"), auth_database_url=SecretStr("sqlite:///top-secret.db")
    )

    assert "top-secret" not in repr(settings)
