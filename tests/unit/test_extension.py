"""The kit as a Flask extension: what it provides to views."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask_jwt_extended import JWTManager, decode_token, get_jwt, get_jwt_header, jwt_required
from werkzeug.exceptions import HTTPException

from flask_resource_server import (
    Forbidden,
    InsufficientScope,
    InvalidToken,
    ResourceServer,
    VerifiedClaims,
    authenticate,
    current_scopes,
    current_subject,
    current_token,
    require_scope,
    token_accepted,
    token_refused,
)
from tests.conftest import KeyPair, bearer
from tests.forger import COURSES, ISSUER, Forger


def show_good() -> str:
    return "good"


READ = {"scope": "courses:read"}
BOTH = {"scope": "courses:read courses:write"}


def answer(app: Flask, view: Callable[..., Any], token: str | None) -> Any:
    """Return a view's response to a request with or without a token."""
    app.add_url_rule("/view", "view", view)
    return app.test_client().get("/view", headers=bearer(token) if token else {})


SCOPES: dict[str, tuple[tuple[str, ...], str, str, int]] = {
    "exact scope": (("courses:read",), "all", "courses:read", 200),
    "another scope": (("courses:read",), "all", "courses:write", 403),
    "longer scope": (("courses:read",), "all", "courses:reads", 403),
    "both of two": (("courses:read", "courses:write"), "all", "courses:write courses:read", 200),
    "one of two": (("courses:read", "courses:write"), "all", "courses:read", 403),
    "one of two, any suffices": (("courses:read", "courses:write"), "any", "courses:write x", 200),
    "neither of two, any suffices": (("courses:read", "courses:write"), "any", "x", 403),
    "none required": ((), "all", "", 200),
    "none required, any suffices": ((), "any", "", 200),
}


@pytest.mark.parametrize(("wanted", "mode", "scope", "status"), SCOPES.values(), ids=SCOPES)
@pytest.mark.parametrize("is_guarded", [False, True], ids=["alone", "under jwt_required"])
def test_view_requires_its_scopes(
    wanted: tuple[str, ...],
    mode: Any,
    scope: str,
    status: int,
    is_guarded: bool,
    make_app: Callable[..., Flask],
    forger: Forger,
) -> None:
    view = require_scope(*wanted, mode=mode)(lambda: "good")
    app = make_app()

    response = answer(app, jwt_required()(view) if is_guarded else view, forger.sign(scope=scope))

    assert response.status_code == status
    if status == 403:
        assert f'scope="{" ".join(wanted)}"' in response.headers["WWW-Authenticate"]


@pytest.mark.parametrize("arguments", [{"mode": "some"}, {"mode": None}], ids=str)
def test_unknown_mode_is_refused_at_once(arguments: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="mode"):
        require_scope("a", **arguments)


def test_decorator_without_parentheses_is_refused_at_once() -> None:
    with pytest.raises(TypeError, match="pass scopes as strings"):
        require_scope(lambda: "view")  # type: ignore[arg-type]


@pytest.mark.parametrize("guard", [require_scope(), jwt_required()], ids=["require_scope", "jwt_required"])
def test_request_without_a_token_is_unauthorized(
    guard: Callable[..., Any], make_app: Callable[..., Flask]
) -> None:
    response = answer(make_app(), guard(lambda: "secret"), None)

    metadata = f"{COURSES}/.well-known/oauth-protected-resource"
    assert (response.status_code, response.json["error"]) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == f'Bearer resource_metadata="{metadata}"'


def test_optional_token_may_be_absent_but_not_invalid(make_app: Callable[..., Flask], forger: Forger) -> None:
    app = make_app()

    @jwt_required(optional=True)
    def show() -> dict[str, Any]:
        token = current_token()
        return {
            "subject": current_subject(),
            "client": token and token.client_id,
            "scopes": [*current_scopes()],
        }

    nobody, somebody = answer(app, show, None), app.test_client().get("/view", headers=bearer(forger.sign()))

    assert nobody.json == {"subject": None, "client": None, "scopes": []}
    assert somebody.json == {
        "subject": forger.subject,
        "client": "first-party",
        "scopes": ["courses:read"],
    }
    assert app.test_client().get("/view", headers=bearer("x.y.z")).status_code == 401


def test_token_does_not_leak_into_the_next_request(make_app: Callable[..., Flask], forger: Forger) -> None:
    """Even if both are made in one application context, as tests and scripts do."""
    app = make_app()
    app.add_url_rule("/guarded", "guarded", require_scope()(show_good))
    app.add_url_rule("/open", "open", lambda: {"subject": current_subject()})
    client = app.test_client()

    with app.app_context():
        assert client.get("/guarded", headers=bearer(forger.sign())).status_code == 200
        assert client.get("/open").json == {"subject": None}
        assert client.get("/guarded").status_code == 401
        assert current_subject() is None


def test_client_cannot_claim_that_its_token_was_accepted(make_app: Callable[..., Flask]) -> None:
    app = make_app()
    app.add_url_rule("/", "view", jwt_required()(lambda: "secret"))
    forged = {
        "flask_resource_server.accepted": "1",
        "Flask-Resource-Server.Accepted": "1",
        "Checked-Bearer-Token": "Bearer a.b.c",
    }

    assert app.test_client().get("/", headers=forged).status_code == 401


def test_token_decoded_by_a_view_does_not_replace_that_of_the_request(
    make_app: Callable[..., Flask], forger: Forger
) -> None:
    app = make_app()
    other = forger.sign(sub="other")

    def decode() -> dict[str, Any]:
        return {"decoded": decode_token(other)["sub"], "reader": current_subject()}

    app.add_url_rule("/open", view_func=decode)
    guarded = answer(app, require_scope()(decode), forger.sign())

    assert guarded.json == {"decoded": "other", "reader": forger.subject}
    assert app.test_client().get("/open").json == {"decoded": "other", "reader": None}


def test_token_decoded_by_a_view_grants_no_access(make_app: Callable[..., Flask], forger: Forger) -> None:
    app = make_app()
    other = forger.sign(**READ)

    def decode() -> str:
        decode_token(other)
        return require_scope("courses:read")(show_good)()

    assert answer(app, decode, None).status_code == 401


def test_token_decoded_by_a_view_sends_no_signal(make_app: Callable[..., Flask], forger: Forger) -> None:
    app = make_app()
    announced = list[Any]()

    def decode() -> str:
        decode_token(forger.sign())
        with pytest.raises(InvalidToken):
            decode_token(forger.sign(iss="http://b"))
        return "good"

    def announce(_app: Flask, **said: Any) -> None:
        announced.append(said)

    with token_accepted.connected_to(announce, app), token_refused.connected_to(announce, app):
        assert answer(app, decode, None).text == "good"

    assert announced == []


CHECKS: dict[str, tuple[Exception, int, str]] = {
    "401": (InvalidToken("Your tenant was closed."), 401, "invalid_token"),
    "403": (Forbidden("Your tenant was closed."), 403, "forbidden"),
    "scope": (InsufficientScope("tenant:open"), 403, "insufficient_scope"),
}


@pytest.mark.parametrize(("refusal", "status", "error"), CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("guard", [require_scope(), jwt_required()], ids=["require_scope", "jwt_required"])
def test_custom_check_can_refuse_a_token(
    guard: Callable[..., Any],
    refusal: Exception,
    status: int,
    error: str,
    make_app: Callable[..., Flask],
    forger: Forger,
) -> None:
    def check(claims: VerifiedClaims) -> None:
        if claims.get("tenant") != "open":
            raise refusal

    app = make_app(check_claims=check)

    refused = answer(app, guard(lambda: "good"), forger.sign(tenant="closed"))
    accepted = app.test_client().get("/view", headers=bearer(forger.sign(tenant="open")))

    assert (refused.status_code, refused.json["error"]) == (status, error)
    assert accepted.text == "good"


async def refuse_later(_claims: VerifiedClaims) -> None:
    raise Forbidden


class AsynchronousCheck:
    async def __call__(self, claims: VerifiedClaims) -> None:
        await refuse_later(claims)


RESULTS: dict[str, tuple[Any, str]] = {
    "False": (lambda _claims: False, "bool"),
    "True": (lambda _claims: True, "bool"),
    "claims": (lambda claims: claims, "VerifiedClaims"),
    "coroutine": (lambda claims: refuse_later(claims), "coroutine"),
    "asynchronous object": (AsynchronousCheck(), "coroutine"),
}


@pytest.mark.parametrize(("check", "kind"), RESULTS.values(), ids=RESULTS)
def test_custom_check_that_returns_a_value_is_an_error(
    check: Any, kind: str, make_app: Callable[..., Flask], forger: Forger, caplog: pytest.LogCaptureFixture
) -> None:
    """Its author expects a result to refuse the token, or a coroutine to be awaited."""
    app = make_app(check_claims=check)

    assert answer(app, require_scope()(show_good), forger.sign()).status_code == 500
    assert f"check_claims returned a value of type {kind}" in caplog.text


def test_current_scopes_callback_can_remove_scopes(make_app: Callable[..., Flask], forger: Forger) -> None:
    app = make_app(current_scopes=lambda claims: claims.scopes - {"courses:write"})
    view = require_scope("courses:write")(lambda: "good")

    assert answer(app, view, forger.sign(**BOTH)).status_code == 403


def test_views_can_read_claims_but_not_change_them(make_app: Callable[..., Flask], forger: Forger) -> None:
    app = make_app()
    seen: list[VerifiedClaims] = []

    @require_scope()
    def show() -> str:
        seen.append(authenticate())
        return "good"

    answer(app, show, forger.sign(tenant={"id": 1}))

    (token,) = seen
    assert token["tenant"] == {"id": 1}
    with pytest.raises(TypeError):
        token["tenant"]["id"] = 2
    with pytest.raises(TypeError):
        token["tenant"] = 2  # type: ignore[index]


def test_view_and_callbacks_get_the_header_of_the_token(
    make_app: Callable[..., Flask], forger: Forger
) -> None:
    app = make_app()
    manager: JWTManager = app.extensions["flask-jwt-extended"]
    seen: list[tuple[dict[str, Any], str]] = []

    @manager.token_in_blocklist_loader
    def is_listed(header: dict[str, Any], claims: dict[str, Any]) -> bool:
        seen.append((header.copy(), claims["sub"]))
        return False

    @manager.token_verification_loader
    def is_good(header: dict[str, Any], claims: dict[str, Any]) -> bool:
        seen.append((header.copy(), claims["sub"]))
        return True

    @jwt_required()
    def show() -> str:
        seen.append((get_jwt_header(), get_jwt()["sub"]))
        return "good"

    assert answer(app, show, forger.sign(sub="someone")).status_code == 200
    assert seen == [({"alg": "RS256", "typ": "at+jwt", "kid": forger.kid}, "someone")] * 3


@pytest.mark.parametrize(("depth", "status"), [(90, 200), (500, 401), (850, 401)])
@pytest.mark.parametrize("guard", [require_scope(), jwt_required()], ids=["require_scope", "jwt_required"])
def test_claim_nested_too_deeply_is_refused(
    guard: Callable[..., Any], depth: int, status: int, make_app: Callable[..., Flask], forger: Forger
) -> None:
    nested: list[Any] = []
    for _ in range(depth):
        nested = [nested]

    assert answer(make_app(), guard(show_good), forger.sign(nested=nested)).status_code == status


@pytest.mark.parametrize("has_token", [False, True])
def test_internal_placeholder_for_the_token_cannot_be_guessed(
    has_token: bool, make_app: Callable[..., Flask], forger: Forger
) -> None:
    """Otherwise a view that decodes a string sent by the client would take it for a good token."""
    token = forger.sign()
    guesses = ["e30..", f"{token.partition('.')[0]}.."]

    def decode() -> dict[str, Any]:
        accepted = []
        for guess in guesses:
            with contextlib.suppress(HTTPException):
                accepted.append(decode_token(guess))
        return {"accepted": len(accepted)}

    assert answer(make_app(), decode, token if has_token else None).get_json() == {"accepted": 0}


@pytest.mark.parametrize("is_listed", [False, True])
def test_applications_own_block_list_is_honoured(
    is_listed: bool, make_app: Callable[..., Flask], forger: Forger
) -> None:
    app = make_app()
    app.extensions["flask-jwt-extended"].token_in_blocklist_loader(lambda _header, _claims: is_listed)

    assert answer(app, jwt_required()(show_good), forger.sign()).status_code == (401 if is_listed else 200)


def test_signals_report_accepted_and_refused_tokens(make_app: Callable[..., Flask], forger: Forger) -> None:
    app = make_app()
    accepted, refused = list[Any](), list[Any]()

    def accept(sender: Flask, claims: VerifiedClaims) -> None:
        accepted.append((sender, claims.subject))

    def refuse(sender: Flask, reason: str) -> None:
        refused.append((sender, reason))

    with token_accepted.connected_to(accept, app), token_refused.connected_to(refuse, app):
        answer(app, jwt_required()(require_scope("courses:read")(lambda: "good")), forger.sign(**READ))
        for token in (None, "x.y.z", forger.sign(scope=""), forger.sign(iss="http://b")):
            app.test_client().get("/view", headers=bearer(token) if token else {})

    assert accepted == [(app, forger.subject)] * 2, "once per request, even with two decorators"
    assert refused == [(app, reason) for reason in ("missing", "form", "scope", "iss")]


def test_second_init_app_is_refused(make_app: Callable[..., Flask]) -> None:
    app = make_app()

    with pytest.raises(RuntimeError, match="this application is a resource server already"):
        ResourceServer(app, issuer=ISSUER, resource=COURSES)


def test_one_object_can_serve_several_applications(key_pair: KeyPair, forger: Forger) -> None:
    resource_server = ResourceServer(issuer=ISSUER, public_key_file=key_pair.public_file)
    apps = [Flask("one"), Flask("two")]
    for app, resource in zip(apps, (COURSES, f"{COURSES}/other"), strict=True):
        app.config["OAUTH_RESOURCE"] = resource
        assert resource_server.init_app(app) is app.extensions["flask_resource_server"]

    statuses = [answer(app, require_scope()(show_good), forger.sign()).status_code for app in apps]

    assert statuses == [200, 401], "each has its own resource"


def test_view_without_a_resource_server_says_what_is_missing() -> None:
    app = Flask("service")
    app.testing = True
    app.add_url_rule("/", "view", require_scope()(show_good))

    with pytest.raises(RuntimeError, match=r"call ResourceServer\(app\)"):
        app.test_client().get("/")


def test_problem_is_logged_once_rather_than_per_request(
    make_app: Callable[..., Flask], forger: Forger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app = make_app(public_key_file=tmp_path / "absent.pem")

    answers = [answer(app, require_scope()(show_good), forger.sign()).status_code]
    answers += [app.test_client().get("/view", headers=bearer(forger.sign())).status_code for _ in range(5)]

    assert answers == [503] * 6
    assert caplog.text.count("tokens cannot be verified") == 1


def test_each_issuers_problem_is_logged_once_while_requests_alternate(
    key_pair: KeyPair, forger: Forger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = [f"https://{name}.example.com" for name in ("one", "two")]
    app = Flask("service")
    ResourceServer(
        app,
        resource=COURSES,
        issuers=[
            {"url": ISSUER, "public_key_file": key_pair.public_file},
            *({"url": url, "public_key_file": tmp_path / url[8:11]} for url in broken),
        ],
    )
    app.add_url_rule("/", view_func=require_scope()(show_good))
    tokens = [forger.sign(iss=url) for url in (ISSUER, *broken)]

    answers = [
        app.test_client().get("/", headers=bearer(token)).status_code for _ in range(3) for token in tokens
    ]

    assert answers == [200, 503, 503] * 3
    assert caplog.text.count("tokens cannot be verified") == 2
