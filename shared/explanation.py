"""Explain at the command line why a token is refused: each check on it, in the order they are made."""

import math
import sys
import time
from collections.abc import Iterator
from typing import Any

import click
import jwt
from flask import Flask

from shared.errors import ApiError
from shared.keys import ALGORITHM
from shared.public_keys import PublicKeys
from shared.startup import StartupError
from shared.verification import LEEWAY, MAXIMUM_LENGTH, MAXIMUM_LIFETIME, TOKEN_TYPE, WELL_FORMED, IsRevoked

# What is looked at, whether it is good, and what to do if not. Values of a token are quoted in ASCII: whoever
# made it must not be able to steer a terminal.
Check = tuple[str, bool, str]


def init_app(
    app: Flask, *, issuer: str, audience: str, public_keys: PublicKeys, is_revoked: IsRevoked
) -> None:
    """Give `app` the command `explain-token`."""

    def explain_token() -> None:
        token = sys.stdin.read().strip()
        try:
            public_keys.read()
        except (ApiError, StartupError) as error:
            raise click.ClickException(str(error)) from None
        is_accepted = True
        for name, is_good, advice in explain(token, issuer, audience, public_keys):
            is_accepted = _show(name, is_good, advice, is_accepted)
        if is_accepted:  # only what is good in every other respect is asked about
            is_accepted = _show(*_explain_revocation(token, is_revoked), True)
        if not is_accepted:
            raise SystemExit(1)

    description = "Read an access token from standard input, and say which checks it passes."
    app.cli.add_command(click.Command("explain-token", callback=explain_token, help=description))


def _show(name: str, is_good: bool, advice: str, is_accepted: bool) -> bool:
    """Print what came of a check, with advice on the first that fails; return whether all were good."""
    click.echo(f"{'pass' if is_good else 'FAIL'}  {name}")
    if is_accepted and not is_good:
        click.echo(f"      {advice}")
    return is_accepted and is_good


def _explain_revocation(token: str, is_revoked: IsRevoked) -> Check:
    name = "it was not revoked"
    try:
        is_good = not is_revoked(jwt.decode(token, options={"verify_signature": False}))
    except ApiError:
        advice = "nobody knows: the issuer's lists cannot be had (the log says why; STALE_STATUS_LISTS)"
        return name, False, advice
    return name, is_good, "its login has ended, or it has no good `status` (STATUS_CLAIM): log in again"


def explain(token: str, issuer: str, audience: str, public_keys: PublicKeys) -> Iterator[Check]:
    """Make every check on a token but for revocation, whatever the ones before have come to."""
    is_well_formed = bool(WELL_FORMED.fullmatch(token)) and len(token) <= MAXIMUM_LENGTH
    yield (
        f"three parts in base64url, {MAXIMUM_LENGTH} characters at most",
        is_well_formed,
        "copy the whole token, without quotes, spaces and the word Bearer",
    )
    try:
        header = jwt.get_unverified_header(token)
        claims = jwt.decode(token, options={"verify_signature": False})
    except jwt.InvalidTokenError:
        yield "header and claims are JSON objects", False, "it is no JWT, or was cut off: get another one"
        return
    yield "header and claims are JSON objects", True, ""
    yield from _explain_header(token, header, public_keys)
    yield from _explain_addresses(claims, issuer, audience)
    yield from _explain_times(claims)
    names = ("sub", "jti", "client_id")
    yield (
        "sub, jti and client_id are texts that are not empty",
        all(isinstance(claims.get(name), str) and claims[name] for name in names),
        "the issuer must put them in (RFC 9068 section 2.2)",
    )
    yield (
        "scope is a text, and type is access, where they are there",
        isinstance(claims.get("scope", ""), str) and claims.get("type", "access") == "access",
        "take an access token as POST /token of auth_app gives it",
    )


def _explain_header(token: str, header: dict[str, Any], public_keys: PublicKeys) -> Iterator[Check]:
    alg, kind, kid = header.get("alg"), header.get("typ"), header.get("kid")
    yield f"alg is {ALGORITHM}", alg == ALGORITHM, f"it is {alg!a}: no other algorithm is taken"
    yield (
        f"typ is {TOKEN_TYPE}",
        isinstance(kind, str) and kind.lower().removeprefix("application/") == TOKEN_TYPE,
        f"it is {kind!a}: this is no access token, but one of another kind",
    )
    yield "crit is absent", "crit" not in header, "it asks for an extension, and none is known here"
    key = public_keys.get(kid) if isinstance(kid, str) else None
    yield (
        "kid names a key that is known",
        key is not None,
        f"it is {kid!a}, and known are {', '.join(public_keys)}: give this service the issuer's public key",
    )
    yield (
        "the signature is that key's",
        key is not None and _is_signed(token, key),
        "somebody else signed this token, or changed it",
    )


def _is_signed(token: str, key: Any) -> bool:
    try:
        jwt.api_jws.decode(token, key, [ALGORITHM])
    except jwt.InvalidTokenError:
        return False
    return True


def _explain_addresses(claims: dict[str, Any], issuer: str, audience: str) -> Iterator[Check]:
    iss, aud = claims.get("iss"), claims.get("aud")
    yield f"iss is {issuer}", iss == issuer, f"it is {iss!a}: ISSUER must be the same here and in auth_app"
    listed = [aud] if isinstance(aud, str) else aud
    yield (
        f"aud has {audience}",
        isinstance(listed, list) and all(isinstance(one, str) for one in listed) and audience in listed,
        f"it is {aud!a}: RESOURCE here must stand in RESOURCES of auth_app, and in a `resource` that is sent",
    )


def _explain_times(claims: dict[str, Any]) -> Iterator[Check]:
    now = time.time()
    given: list[Any] = [claims.get("exp"), claims.get("iat"), claims.get("nbf", claims.get("iat"))]
    times = [float(value) for value in given if type(value) in {int, float} and math.isfinite(value)]
    yield "exp and iat, and nbf if there is one, are numbers", len(times) == 3, "get another token"
    if len(times) < 3:
        return
    exp, iat, nbf = times
    yield "it has not expired", now < exp + LEEWAY, f"it did {now - exp:.0f} seconds ago: get another one"
    yield (
        "its time has come",
        max(iat, nbf) <= now + LEEWAY,
        f"it will in {max(iat, nbf) - now:.0f} seconds: set the clock of this host, or that of auth_app's",
    )
    yield (
        f"it lives for {MAXIMUM_LIFETIME} seconds at most",
        0 < exp - iat <= MAXIMUM_LIFETIME,
        f"it lives for {exp - iat:.0f}: that is not a token of auth_app",
    )
