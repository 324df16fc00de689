"""The kit's pages: examples work as described, and tables match the code.

tests/docs runs the commands of these pages.
"""

import re
import types
from collections.abc import Iterator
from dataclasses import MISSING, fields
from typing import Any

import pytest
from fastapi import FastAPI, HTTPException
from flask import Flask

import flask_resource_server
from flask_resource_server import signals
from flask_resource_server.errors import BearerError
from flask_resource_server.testing import TokenIssuer
from flask_resource_server.tokens import PROFILES, Issuer, VerifiedClaims
from flask_resource_server.tokens.profiles import RFC9068
from tests.servers import ROOT
from tests.unit.test_kit_settings import BAD_SETTINGS

HOW_TO = (ROOT / "docs/how-to/protect-a-service.md").read_text()
FILES = dict(re.findall(r'^```python title="(\w+)\.py"\n(.*?)^```', HOW_TO, re.DOTALL | re.MULTILINE))
REFERENCE = (ROOT / "docs/reference/kit.md").read_text()
SETTINGS = (ROOT / "docs/reference/settings.md").read_text().partition("## A service that uses the kit")[2]
OPERATORS = REFERENCE.partition("## Errors that operators see")[2].partition("\n## ")[0]


def run(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    exec(compile(FILES[name], name, "exec"), vars(module))  # noqa: S102
    return module


def configure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_OAUTH_ISSUER", "https://auth.example.com")
    monkeypatch.setenv("FLASK_OAUTH_RESOURCE", "https://reports.example.com")


def test_readme_shows_the_same_service() -> None:
    assert FILES["reports"] in (ROOT / "README.md").read_text()


def test_factory_example_creates_an_application(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch)

    assert isinstance(run("factory").create_app(), Flask)


def test_environment_file_configures_the_deployed_service(monkeypatch: pytest.MonkeyPatch) -> None:
    (settings,) = re.findall(r'^```ini title="reports.env"\n(.*?)^```', HOW_TO, re.DOTALL | re.MULTILINE)
    for line in settings.splitlines():
        monkeypatch.setenv(*line.split("="))

    server = run("reports").app.extensions["flask_resource_server"]

    assert server.resource == "https://reports.example.com"
    assert [issuer.url for issuer in server.verifier.issuers] == ["https://auth.example.com"]
    assert "StateDirectory=reports" in HOW_TO


def test_views_example_works_as_described() -> None:
    app: Flask = run("views").app
    client = app.test_client()
    with TokenIssuer().trusted_by(app) as tokens:
        read = tokens.headers(subject="ann", scopes=["reports:read"], tenant="t")
        write = tokens.headers(scopes=["reports:write"])

        assert client.get("/me", headers=read).json == {
            "subject": "ann",
            "client": "test-client",
            "tenant": "t",
        }
        assert client.get("/summary", headers=read).json == {"may_write": False}
        assert client.get("/summary", headers=write).json == {"may_write": True}
        assert client.get("/front").json == {"hello": "stranger"}
        assert client.get("/front", headers=read).json == {"hello": "ann"}
        assert client.get("/reports", headers=read).status_code == 200
        assert client.get("/reports", headers=write).status_code == 403
        metadata: Any = client.get("/.well-known/oauth-protected-resource").json
        assert metadata["scopes_supported"] == ["reports:read", "reports:write"]


def test_custom_rules_example_works_as_described() -> None:
    module = run("rules")
    app: Flask = module.app
    owner = module.DOCUMENTS[1]["owner"]
    with TokenIssuer().trusted_by(app) as tokens:
        get = app.test_client().get
        assert get("/documents/1", headers=tokens.headers(subject=owner)).status_code == 200
        assert get("/documents/1", headers=tokens.headers(subject="other")).status_code == 403
        assert get("/documents/1", headers=tokens.headers(subject=owner, tenant="b")).status_code == 403


def test_several_issuers_example_sets_a_profile_for_each() -> None:
    server = run("several").app.extensions["flask_resource_server"]

    assert [issuer.profile.maximum_lifetime for issuer in server.verifier.issuers] == [3600, 7200]


@pytest.fixture
def monitored(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    configure(monkeypatch)
    module = run("monitored")
    yield module
    flask_resource_server.token_refused.disconnect(module.count_refusal)


def test_refusals_are_counted(monitored: types.ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    monitored.app.add_url_rule("/", view_func=flask_resource_server.require_scope()(lambda: ""))

    monitored.app.test_client().get("/")

    assert capsys.readouterr().out == "refused: missing\n"


def test_readiness_is_reported(monitored: types.ModuleType) -> None:
    get = monitored.app.test_client().get

    unknown = get("/readyz")
    with TokenIssuer().trusted_by(monitored.app):
        known = get("/readyz")

    assert (unknown.status_code, list(unknown.json or ())) == (503, ["keys"])
    assert (known.status_code, known.json) == (200, {})


def test_docstring_lists_every_reason_for_refusal() -> None:
    code = "".join(path.read_text() for path in (ROOT / "flask_resource_server").rglob("*.py"))
    sent = set(re.findall(r"(?:refuse|announce|announce_if_answered|_respond|RefusedToken)\(\"(\w+)\"", code))
    sentence = re.search(r"\(tokens/checks\.py\), or ([a-z_,\s]+)", signals.__doc__ or "")
    assert sentence

    assert set(re.findall(r"\w+", sentence[1])) == sent


def test_every_setting_is_listed_with_its_default() -> None:
    table = SETTINGS.partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|(.*?)\|", table, re.MULTILINE))
    defaults = {field.name.upper(): field.default for field in fields(Issuer) if field.name != "url"}
    written = {name: text.strip(" `") for name, text in rows.items()}

    assert set(rows) == set(defaults) | {"ISSUER", "ISSUERS", "RESOURCE"}
    for name, default in defaults.items():
        shown = "RESOURCE" if name == "AUDIENCE" else "" if default in {None, MISSING} else str(default)
        assert written[name] == shown, name


def test_settings_are_listed_in_one_place() -> None:
    """The table of settings.md is generated from the docstrings of the fields."""
    assert re.findall(r"^\| `[A-Z_]+` \|", REFERENCE, re.MULTILINE) == []
    assert "(settings.md#a-service-that-uses-the-kit)" in REFERENCE


def test_every_client_error_is_listed() -> None:
    section = REFERENCE.partition("## Errors that clients see")[2].partition("\n## ")[0].replace("\n", " ")
    named = {
        (status, error)
        for errors, status in re.findall(r"((?:\[`\w+`\]\(\S+\),? (?:or )?)+)\((\d{3})\)", section)
        for error in re.findall(r"\[`(\w+)`\]\(errors\.md#\w+\)", errors)
    }

    assert named == {(str(kind.code), kind.error) for kind in BearerError.__subclasses__()}


def test_every_property_of_a_token_is_listed() -> None:
    sentence = re.search(r"with the properties (.*?)\.\n", REFERENCE, re.DOTALL)
    assert sentence
    named = set(re.findall(r"`(\w+)`", sentence[1]))
    members = vars(flask_resource_server.VerifiedClaims)

    assert named == {name for name, value in members.items() if isinstance(value, property)}


def test_operator_messages_occur_in_the_code() -> None:
    rows = re.findall(r"^\| `(.*?)` \| .* \|$", OPERATORS, re.MULTILINE)
    code = "".join(path.read_text() for path in (ROOT / "flask_resource_server").rglob("*.py"))
    parts = [part for message in rows for part in message.split("...")]
    words = [word for part in parts for word in [part.strip(" ;,")] if len(word) > 3]

    assert len(words) > 8
    plain = re.sub(r'"\s*f?"', "", code)
    assert [word for word in words if word not in plain] == []


def test_profiles_match_the_code() -> None:
    table = REFERENCE.partition("### Profiles")[2].partition("\n## ")[0]
    row = r"^\| `(\w+)`.*? \| (.*?) \| `(\w+)` \| `(\w+)`( \(list\))? \| (\d+) (minute|hour)s? \|$"

    rows = {name: cells for name, *cells in re.findall(row, table, re.MULTILINE)}

    assert set(rows) == set(PROFILES)
    for name, profile in PROFILES.items():
        types, client, scope, is_list, number, unit = rows[name]
        assert set(re.findall("`(.*?)`", types.lower())) == profile.token_types - {None}
        assert ("absent" in types) is (None in profile.token_types)
        assert (client, scope) == (profile.client_claim, profile.scope_claim)
        assert bool(is_list) is (profile.scope_type == "list")
        assert int(number) * {"minute": 60, "hour": 3600}[unit] == profile.maximum_lifetime


def test_fastapi_service_runs_and_requires_the_scope() -> None:
    service = run("fastapi_reports")
    good, poor = (VerifiedClaims({"sub": "ann", "scope": scope}, RFC9068) for scope in ("courses:read", "a"))

    assert isinstance(service.app, FastAPI)
    assert service.list_reports(good) == {"reports": [], "reader": "ann"}
    with pytest.raises(HTTPException, match="403"):
        service.list_reports(poor)


@pytest.mark.parametrize(("settings", "_said"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_every_configuration_error_is_explained(settings: dict[str, Any], _said: str) -> None:
    patterns = [
        ".*".join(map(re.escape, message.split("...")))
        for message in re.findall(r"^\| `(.*?)` \|", OPERATORS, re.MULTILINE)
    ]
    defaults = {"issuer": "https://a", "resource": "https://b", "public_key_file": "absent.pem"}

    with pytest.raises(flask_resource_server.ConfigurationError) as refusal:
        flask_resource_server.ResourceServer(Flask("service"), **{**defaults, **settings})

    assert [pattern for pattern in patterns if re.search(pattern, str(refusal.value))]
