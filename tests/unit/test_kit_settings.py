"""The kit's settings: which values it accepts, and how it refuses others."""

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import pytest
from flask import Flask

from flask_resource_server import ConfigurationError, Issuer, ResourceServer, require_scope
from flask_resource_server.tokens.profiles import KEYCLOAK
from tests.conftest import KeyPair
from tests.forger import COURSES, ISSUER, Forger
from tests.unit.test_extension import answer, show_good

BAD_SETTINGS: dict[str, tuple[dict[str, Any], str]] = {
    "no issuer": ({"issuer": None}, "OAUTH_ISSUER is not set: set it to the URL of the authorization server"),
    "an empty issuer": ({"issuer": ""}, "OAUTH_ISSUER is not set: set it to the URL"),
    "no resource": (
        {"resource": None},
        "URL, as OAUTH_RESOURCE in app.config, or as FLASK_OAUTH_RESOURCE with from_prefixed_env()",
    ),
    "issuer that is not a URL": ({"issuer": "login"}, "ISSUER must be an absolute URL"),
    "issuer that is a number": ({"issuer": 7}, "ISSUER must be an absolute URL"),
    "issuer with a query": ({"issuer": "https://a/?b"}, "without credentials, query and fragment"),
    "lists with a query": ({"status_lists_url": "https://a/l?b"}, "STATUS_LISTS_URL must be a URL without"),
    "issuer with credentials": ({"issuer": "https://u:p@a"}, "without credentials"),
    "issuer with an invalid port": ({"issuer": "https://a:x"}, "ISSUER must be an absolute URL"),
    "resource with a slash": ({"resource": "https://a/"}, "RESOURCE must not end with a slash"),
    "unknown setting": ({"isuer": "https://a"}, "isuer: no such setting; did you mean issuer?"),
    "two sources of keys": ({"jwks_url": "https://a"}, "PUBLIC_KEY_FILE and JWKS_URL are both set"),
    "unknown choice": ({"status_claim": "no"}, "STATUS_CLAIM is 'no': set it to one of optional, required"),
    "unknown profile": ({"profile": "lax"}, "PROFILE is 'lax': set it to one of rfc9068, keycloak"),
    "zero seconds": ({"jwks_refresh": 0}, "JWKS_REFRESH must be a number of seconds above 0"),
    "seconds in a string": ({"jwks_cooldown": "10"}, "JWKS_COOLDOWN must be a number of seconds above 0"),
    "both issuer and issuers": ({"issuers": [{"url": "https://a"}]}, "are both set: move"),
    "a private key": ({"public_key_file": None, "public_key": "-----BEGIN PRIVATE KEY-----"}, "private key"),
}


@pytest.mark.parametrize(("settings", "said"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings_are_refused(
    settings: dict[str, Any], said: str, make_app: Callable[..., Flask]
) -> None:
    with pytest.raises(ConfigurationError) as refusal:
        make_app(**settings)

    assert said in str(refusal.value)


@pytest.mark.parametrize(
    "issuers", [[], [{}], ["https://a"], [{"url": "https://a"}] * 2, [{"url": "https://a", "x": 1}]], ids=str
)
def test_bad_issuers_are_refused(issuers: list[Any]) -> None:
    with pytest.raises(ConfigurationError, match="ISSUERS"):
        ResourceServer(Flask("service"), resource=COURSES, issuers=issuers)


def test_settings_are_read_from_the_flask_configuration(key_pair: KeyPair, forger: Forger) -> None:
    app = Flask("service")
    app.config.update(
        OAUTH_ISSUER=ISSUER, OAUTH_RESOURCE=COURSES, OAUTH_PUBLIC_KEY_FILE=str(key_pair.public_file)
    )
    ResourceServer(app)

    assert answer(app, require_scope()(show_good), forger.sign()).status_code == 200


def test_empty_variable_counts_as_unset(
    key_pair: KeyPair, forger: Forger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for field in fields(Issuer):
        monkeypatch.setenv(f"FLASK_OAUTH_{field.name.upper()}", "")
    monkeypatch.delenv("FLASK_OAUTH_URL")
    app = Flask("service")
    app.config.from_prefixed_env()
    app.config.update(
        OAUTH_ISSUER=ISSUER, OAUTH_RESOURCE=COURSES, OAUTH_PUBLIC_KEY_FILE=str(key_pair.public_file)
    )
    ResourceServer(app)

    assert answer(app, require_scope()(show_good), forger.sign()).status_code == 200


@pytest.mark.parametrize("source", [{"public_key": ""}, {"public_key_file": ""}], ids=str)
def test_empty_key_is_refused_instead_of_fetching_keys(source: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        Issuer(ISSUER, **source).open(COURSES).check_startup()


def test_misspelled_setting_is_refused(key_pair: KeyPair) -> None:
    app = Flask("service")
    app.config["OAUTH_STATUS_CLAIMS"] = "required"

    with pytest.raises(
        ConfigurationError, match=r"OAUTH_STATUS_CLAIMS: no such setting; did you mean OAUTH_STATUS_CLAIM\?"
    ):
        ResourceServer(app, issuer=ISSUER, resource=COURSES)


def test_configuration_prefix_can_be_changed(key_pair: KeyPair, forger: Forger) -> None:
    app = Flask("service")
    app.config.update(
        OAUTH_CREDENTIALS="somebody else's",
        API_ISSUER=ISSUER,
        API_RESOURCE=COURSES,
        API_PUBLIC_KEY_FILE=key_pair.public_file,
    )
    ResourceServer(app, config_prefix="API_")

    assert answer(app, require_scope()(show_good), forger.sign()).status_code == 200


def test_url_of_a_key_set_may_have_a_query() -> None:
    url = "https://login.example.com/keys?p=sign-in"

    assert Issuer(ISSUER, jwks_url=url).jwks_url == url


def test_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ISSUER", "OAUTH_ISSUER", "RESOURCE", "OAUTH_RESOURCE"):
        monkeypatch.setenv(name, "https://a")

    with pytest.raises(ConfigurationError, match="OAUTH_RESOURCE is not set"):
        ResourceServer(Flask("service"))


def test_modified_profile_is_accepted(
    key_pair: KeyPair, forger: Forger, make_app: Callable[..., Flask]
) -> None:
    app = make_app(profile=replace(KEYCLOAK, maximum_lifetime=86_400))
    token = forger.sign({"typ": "JWT"}, typ="Bearer", azp="app")

    assert answer(app, require_scope()(show_good), token).status_code == 200


@pytest.mark.parametrize(
    ("issuer", "lines"),
    [("https://auth.example.com", 0), ("http://127.0.0.1:8081", 0), ("http://auth.internal:8081", 1)],
)
def test_remote_issuer_without_tls_logs_a_warning(
    issuer: str, lines: int, make_app: Callable[..., Flask], caplog: pytest.LogCaptureFixture
) -> None:
    make_app(issuer=issuer, public_key_file=None)

    assert caplog.text.count("without TLS") == lines
