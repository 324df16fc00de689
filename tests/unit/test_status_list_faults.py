"""A status list that cannot be fetched or used does not affect other lists."""

import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient

from tests.conftest import KeyPair
from tests.forger import Forger
from tests.issuers import Issuer
from tests.servers import wait_for
from tests.unit.test_offline_revocation import LISTS, issuer, open_checking, publish, read, token_at
from tests.unit.test_status_list import pack
from tests.unit.test_status_list import sign as sign_list

pytestmark = pytest.mark.slow

__all__ = ["issuer"]  # the fixture


@pytest.fixture
def course(issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path) -> Iterator[FlaskClient]:
    """A service that has the issuer's one list."""
    publish(issuer, forger, ttl=1)
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger)) == 200
        yield course


def is_accepted(course: FlaskClient, token: str) -> bool:
    return read(course, token) == 200


@pytest.mark.parametrize("body", [b"", b"a.b.c"], ids=["empty", "not a list"])
def test_bad_list_does_not_prevent_the_renewal_of_another(
    body: bytes, issuer: Issuer, forger: Forger, course: FlaskClient
) -> None:
    publish(issuer, forger, 5, ttl=1)
    issuer.pages["/lists"] = json.dumps({"status_lists": [f"{LISTS}/1", f"{LISTS}/2"]}).encode()
    issuer.pages["/lists/2"] = body

    wait_for(lambda: read(course, token_at(forger)) == 401)

    status = course.get("/readyz")
    assert status.json
    assert "status_lists" in str(status.json)


def test_list_that_expires_before_its_ttl_is_renewed(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, ttl=3600, exp=time.time() + 2)
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger)) == 200
        publish(issuer, forger, 5, ttl=3600)

        wait_for(lambda: read(course, token_at(forger)) == 401)


@pytest.mark.parametrize("bits", [1.0, True, "1"])
def test_list_whose_bits_are_not_an_integer_is_not_used(
    bits: object, issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, status_list={"bits": bits, "lst": pack(bytes(8))})

    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger)) == 503


def test_unpublished_list_is_not_treated_as_a_stale_one(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    publish(issuer, forger, ttl=1)
    with open_checking(issuer, key_pair, tmp_path, stale_status_lists="accept") as course:
        assert read(course, token_at(forger)) == 200

        assert read(course, token_at(forger, uri=f"{LISTS}/7")) == 503


def test_renamed_lists_do_not_accumulate_in_the_copy(
    issuer: Issuer, forger: Forger, key_pair: KeyPair, tmp_path: Path
) -> None:
    from flask_resource_server.tokens.status_lists import MAXIMUM_LISTS

    publish(issuer, forger, ttl=1)
    with open_checking(issuer, key_pair, tmp_path) as course:
        assert read(course, token_at(forger)) == 200
        for generation in range(3):
            uris = [f"{LISTS}/{generation * 100 + number}" for number in range(1, 101)]
            issuer.pages["/lists"] = json.dumps({"status_lists": uris}).encode()
            for uri in uris:
                claims: dict[str, Any] = {"sub": uri, "iat": time.time(), "ttl": 1}
                packed = {"bits": 1, "lst": pack(bytes(8))}
                page = sign_list(forger, **claims, status_list=packed).encode()
                issuer.pages[f"/lists/{uri.rpartition('/')[2]}"] = page
            newest = token_at(forger, uri=uris[-1])
            wait_for(partial(is_accepted, course, newest))

        (copy,) = tmp_path.glob("*.status-lists.json")
        assert len(json.loads(copy.read_text())) <= 2 * MAXIMUM_LISTS
