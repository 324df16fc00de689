"""docs/how-to/protect-a-service.md is true: its code runs, and its tables match the code."""

import re
import sys
import types
from dataclasses import MISSING, fields
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask

import flask_resource_server
from flask_resource_server import signals
from flask_resource_server.errors import BearerError
from flask_resource_server.testing import TokenIssuer
from flask_resource_server.tokens import Issuer
from tests.servers import ROOT
from tests.unit.test_kit_settings import BAD_SETTINGS

pytest_plugins = ["pytester"]

DOCUMENT = (ROOT / "docs/how-to/protect-a-service.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT, re.DOTALL)
SERVICE, FACTORY, VIEWS, RULES, CONFTEST, TESTS, ISSUERS, SIGNALS, FASTAPI = BLOCKS

OPERATORS = DOCUMENT.partition("## Errors that operators see")[2].partition("\n## ")[0]


def run(block: str, name: str = "documented") -> types.ModuleType:
    module = types.ModuleType(name)
    exec(compile(block, name, "exec"), vars(module))  # noqa: S102
    return module


def configure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASK_OAUTH_ISSUER", "https://auth.example.com")
    monkeypatch.setenv("FLASK_OAUTH_RESOURCE", "https://reports.example.com")


def test_readme_shows_the_same_service() -> None:
    assert SERVICE in (ROOT / "README.md").read_text()


def test_factory(monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch)

    assert isinstance(run(FACTORY).create_app(), Flask)


def test_what_views_can_ask_for() -> None:
    app: Flask = run(VIEWS).app
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


def test_rules_of_your_own() -> None:
    module = run(RULES)
    app: Flask = module.app
    owner = module.DOCUMENTS[1]["owner"]
    with TokenIssuer().trusted_by(app) as tokens:
        get = app.test_client().get
        assert get("/documents/1", headers=tokens.headers(subject=owner)).status_code == 200
        assert get("/documents/1", headers=tokens.headers(subject="other")).status_code == 403
        assert get("/documents/1", headers=tokens.headers(subject=owner, tenant="b")).status_code == 403


def test_documented_tests_pass(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch)
    pytester.makepyfile(reports=SERVICE)
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_reports=TESTS)
    monkeypatch.syspath_prepend(pytester.path)

    pytester.runpytest("-p", "no:randomly", "-p", "no:xdist").assert_outcomes(passed=3)

    sys.modules.pop("reports", None)


def test_several_issuers() -> None:
    server = run(ISSUERS).app.extensions["flask_resource_server"]

    assert [issuer.profile.maximum_lifetime for issuer in server.verifier.issuers] == [3600, 7200]


def test_signals(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    configure(monkeypatch)
    module = run(SIGNALS)
    try:
        run(SERVICE).app.test_client().get("/reports")
    finally:
        flask_resource_server.token_refused.disconnect(module.count_refusal)

    assert capsys.readouterr().out == "refused: missing\n"


def test_reasons_of_refusals_are_all_named() -> None:
    code = "".join(path.read_text() for path in (ROOT / "flask_resource_server").rglob("*.py"))
    sent = set(re.findall(r"(?:refuse|announce|announce_if_answered|_respond|RefusedToken)\(\"(\w+)\"", code))
    sentence = re.search(r"\(tokens/checks\.py\), or ([a-z_,\s]+)", signals.__doc__ or "")
    assert sentence

    assert set(re.findall(r"\w+", sentence[1])) == sent


def test_settings_are_all_named_with_their_defaults() -> None:
    rows = dict(re.findall(r"^\| `([A-Z_]+)` \|(.*?)\|", DOCUMENT, re.MULTILINE))
    defaults = {field.name.upper(): field.default for field in fields(Issuer) if field.name != "url"}
    written = {name: text.strip(" `") for name, text in rows.items()}

    assert set(rows) == set(defaults) | {"ISSUER", "ISSUERS", "RESOURCE"}
    for name, default in defaults.items():
        if name != "AUDIENCE":
            assert written[name] == ("" if default in {None, MISSING} else str(default)), name


def test_errors_are_all_named() -> None:
    rows = set(re.findall(r"^\| (\d{3}) \| `(\w+)` \|", DOCUMENT, re.MULTILINE))

    assert rows == {(str(kind.code), kind.error) for kind in BearerError.__subclasses__()}


def test_properties_of_a_token_are_named() -> None:
    sentence = re.search(r"with the properties (.*?)\.\n", DOCUMENT, re.DOTALL)
    assert sentence
    named = set(re.findall(r"`(\w+)`", sentence[1]))
    members = vars(flask_resource_server.VerifiedClaims)

    assert named == {name for name, value in members.items() if isinstance(value, property)}


def test_messages_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| `(.*?)` \| .* \|$", OPERATORS, re.MULTILINE)
    code = "".join(path.read_text() for path in (ROOT / "flask_resource_server").rglob("*.py"))
    parts = [part for message in rows for part in message.split("...")]
    words = [word for part in parts for word in [part.strip(" ;,")] if len(word) > 3]

    assert len(words) > 8
    plain = re.sub(r'"\s*f?"', "", code)
    assert [word for word in words if word not in plain] == []


def test_fastapi_service_runs() -> None:
    assert isinstance(run(FASTAPI).app, FastAPI)


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
