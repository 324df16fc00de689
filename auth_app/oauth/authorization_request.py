"""Parse and validate the parameters of a request at `/authorize` (OpenID Connect Core 3.1.2, RFC 7636)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from auth_app.accounts.clients import find_client
from auth_app.accounts.redirect_uris import is_registered
from auth_app.models import Client
from auth_app.oauth.id_tokens import read_id_token
from auth_app.oauth.parameters import Parameters
from shared.errors import ApiError

RESPONSE_MODES = ("query", "form_post")

_PROMPTS = {"none", "login", "consent", "select_account"}
_CHALLENGE = re.compile(r"[A-Za-z0-9_-]{43}")  # of S256 (RFC 7636 section 4.2)
_MAXIMUM_NONCE = 1024

# Unsupported parameters, and the error for each (OpenID Connect Core section 3.1.2.6).
_UNSUPPORTED = {
    "request": "request_not_supported",
    "request_uri": "request_uri_not_supported",
    "registration": "registration_not_supported",
}


class AuthorizationError(Exception):
    """An error that is returned to the client by a redirect (RFC 6749 section 4.1.2.1)."""

    def __init__(self, error: str, description: str) -> None:
        super().__init__(description)
        self.error = error
        self.description = description


class UnsafeRedirect(ApiError):
    """The client or redirect URI is invalid, so the browser is not redirected (RFC 6749 section 4.1.2.1)."""


@dataclass(frozen=True)
class RedirectTarget:
    """The redirect URI that a browser returns to, with the `state` and the response mode."""

    redirect_uri: str
    state: str | None
    mode: str


@dataclass(frozen=True)
class AuthorizationRequest:
    """The parameters of a valid request of a registered client."""

    client: Client
    redirect_uri: str
    code_challenge: str
    scopes: frozenset[str] | None  # None: the parameter was omitted
    resources: list[str] | None
    nonce: str | None
    prompts: frozenset[str]
    max_age: int | None
    login_hint: str
    hinted_subject: str | None  # the `sub` of `id_token_hint`: the user whom the client expects

    @property
    def needs_sign_in(self) -> bool:
        """Return whether the user must sign in again, even if signed in already."""
        return bool(self.prompts & {"login", "select_account"})


def find_client_and_target(parameters: Parameters) -> tuple[Client, RedirectTarget]:
    """Return the client and where to send the response. Raises `UnsafeRedirect`."""
    client = find_client(_only(parameters, "client_id"))
    uri = _only(parameters, "redirect_uri")
    if client is None or not client.redirect_uris:
        raise UnsafeRedirect("The application that sent you here is not registered with this server.")
    if not is_registered(uri, client.redirect_uris):
        raise UnsafeRedirect(
            f"The application {client.id} asked to return to an address that is not registered for it."
        )
    modes, states = parameters.get("response_mode", []), parameters.get("state", [])
    mode = modes[0] if len(modes) == 1 and modes[0] in RESPONSE_MODES else "query"
    return client, RedirectTarget(uri, states[0] if len(states) == 1 else None, mode)


def read_request(client: Client, redirect_uri: str, parameters: Parameters) -> AuthorizationRequest:
    """Return the parsed request of a client. Raises `AuthorizationError`."""
    for name, values in parameters.items():
        if len(values) > 1 and name != "resource":  # RFC 6749 section 3.1, RFC 8707 section 2
            raise AuthorizationError("invalid_request", "A parameter is repeated.")
    single = {name: values[0] for name, values in parameters.items()}
    for name, error in _UNSUPPORTED.items():
        if name in single:
            raise AuthorizationError(error, f"This server does not support the parameter {name}.")
    _check_response(single)
    _check_challenge(single)
    nonce = single.get("nonce")
    if nonce is not None and (len(nonce) > _MAXIMUM_NONCE or "\0" in nonce):
        raise AuthorizationError(
            "invalid_request", "The nonce is longer than 1024 characters or contains a NUL."
        )
    return AuthorizationRequest(
        client=client,
        redirect_uri=redirect_uri,
        code_challenge=single["code_challenge"],
        scopes=frozenset(single["scope"].split()) if "scope" in single else None,
        resources=list(parameters["resource"]) if "resource" in parameters else None,
        nonce=nonce,
        prompts=_read_prompts(single),
        max_age=_read_max_age(single),
        login_hint=single.get("login_hint", ""),
        hinted_subject=_read_hint(single),
    )


def build_redirect(target: RedirectTarget, members: Mapping[str, str]) -> str:
    """Return a redirect URI with the members of the response in its query (RFC 6749 section 4.1.2)."""
    if not members:
        return target.redirect_uri
    query = urlsplit(target.redirect_uri).query
    separator = "&" if query else "" if target.redirect_uri.endswith("?") else "?"
    return f"{target.redirect_uri}{separator}{urlencode(members)}"


def _only(parameters: Parameters, name: str) -> str:
    values = parameters.get(name, [])
    if len(values) > 1:
        raise UnsafeRedirect(f"The parameter {name} is repeated.")
    if not values:
        raise UnsafeRedirect(f"The parameter {name} is missing.")
    return values[0]


def _check_response(single: Mapping[str, str]) -> None:
    if "response_type" not in single:
        raise AuthorizationError("invalid_request", "The parameter response_type is missing.")
    if single["response_type"] != "code":
        raise AuthorizationError("unsupported_response_type", "The response_type must be code.")
    if single.get("response_mode", "query") not in RESPONSE_MODES:
        raise AuthorizationError("invalid_request", "The response_mode must be query or form_post.")


def _check_challenge(single: Mapping[str, str]) -> None:
    # RFC 7636 section 4.4.1. PKCE is required of confidential clients, too (RFC 9700 section 2.1.1).
    if "code_challenge" not in single:
        raise AuthorizationError("invalid_request", "The parameter code_challenge is missing (PKCE).")
    if single.get("code_challenge_method", "plain") != "S256":
        raise AuthorizationError("invalid_request", "The code_challenge_method must be S256.")
    if not _CHALLENGE.fullmatch(single["code_challenge"]):
        raise AuthorizationError("invalid_request", "The code_challenge must be a SHA-256 hash in base64url.")


def _read_prompts(single: Mapping[str, str]) -> frozenset[str]:
    prompts = frozenset(single.get("prompt", "").split())
    if not prompts <= _PROMPTS or ("none" in prompts and len(prompts) > 1):
        raise AuthorizationError(
            "invalid_request", "The prompt must be none alone, or any of login, consent and select_account."
        )
    return prompts


def _read_hint(single: Mapping[str, str]) -> str | None:
    if "id_token_hint" not in single:
        return None
    hint = read_id_token(single["id_token_hint"])
    if hint:
        return str(hint["sub"])
    # A hint that cannot be verified matches no user. Ignore it unless `prompt=none`, which must then fail.
    return "" if "none" in single.get("prompt", "") else None


def _read_max_age(single: Mapping[str, str]) -> int | None:
    if "max_age" not in single:
        return None
    if not re.fullmatch(r"[0-9]{1,9}", single["max_age"]):
        raise AuthorizationError("invalid_request", "The max_age must be a number of seconds.")
    return int(single["max_age"])
