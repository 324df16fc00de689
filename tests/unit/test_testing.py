"""The kit's test tokens: what an application accepts and refuses, without an issuer."""

import pytest
from flask import Flask

from flask_resource_server import ResourceServer, current_subject, require_scope
from flask_resource_server.testing import TokenIssuer
from tests.conftest import bearer

pytest_plugins = ["pytester", "flask_resource_server.pytest_plugin"]


def make_app() -> Flask:
    app = Flask("service")
    ResourceServer(app, issuer="https://login.example.com", resource="https://reports.example.com")

    @app.get("/")
    @require_scope("reports:read")
    def show_reader() -> dict[str, str | None]:
        return {"reader": current_subject()}

    return app


@pytest.fixture
def app() -> Flask:
    return make_app()


def get(app: Flask, token: str) -> int:
    return app.test_client().get("/", headers=bearer(token)).status_code


def test_token_is_accepted(app: Flask, tokens: TokenIssuer) -> None:
    headers = tokens.headers(subject="ann", scopes=["reports:read"])

    response = app.test_client().get("/", headers=headers)

    assert (response.status_code, response.json) == (200, {"reader": "ann"})


@pytest.mark.parametrize(
    ("status", "token"),
    [
        (403, {"scopes": []}),
        (403, {"scopes": ["reports:write"]}),
        (401, {"expires_in": -60}),
        (401, {"aud": "https://other.example.com"}),
        (401, {"iss": "https://other.example.com"}),
        (401, {"jti": TokenIssuer.absent}),
        (401, {"subject": ""}),
        (401, {"expires_in": 4000}),
    ],
    ids=["no scope", "another scope", "expired", "audience", "issuer", "no ID", "no subject", "lifetime"],
)
def test_faulty_token_is_refused(
    status: int, token: dict[str, object], app: Flask, tokens: TokenIssuer
) -> None:
    assert get(app, tokens.issue(**{"scopes": ["reports:read"], **token})) == status  # type: ignore[arg-type]


def test_scopes_in_one_string_are_refused(tokens: TokenIssuer) -> None:
    with pytest.raises(TypeError, match="scopes must be a list"):
        tokens.headers(scopes="reports:read")


def test_token_of_another_test_issuer_is_refused(app: Flask, tokens: TokenIssuer) -> None:
    other = TokenIssuer(audience=tokens.audience)

    assert get(app, other.issue(scopes=["reports:read"])) == 401


def test_application_trusts_its_own_issuer_again_afterwards(app: Flask, token_issuer: TokenIssuer) -> None:
    before = app.extensions["flask_resource_server"].verifier
    with token_issuer.trusted_by(app):
        token = token_issuer.issue(scopes=["reports:read"])
        assert get(app, token) == 200

    assert app.extensions["flask_resource_server"].verifier is before
    assert token_issuer.audience is None


def test_plugin_provides_the_tokens_fixture(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(
        """
        import pytest
        from tests.unit.test_testing import make_app

        pytest_plugins = ["flask_resource_server.pytest_plugin"]
        app = pytest.fixture(make_app)
        """
    )
    pytester.makepyfile(
        """
        def test_reader(app, tokens):
            headers = tokens.headers(scopes=["reports:read"])
            assert app.test_client().get("/", headers=headers).json == {"reader": "user"}
        """
    )

    pytester.runpytest("-p", "no:randomly", "-p", "no:xdist").assert_outcomes(passed=1)
