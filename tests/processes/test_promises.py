"""The three guarantees of the README, tested against real processes."""

import base64
import contextlib
import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from flask_resource_server.tokens.keys import public_jwk
from tests.conftest import KeyPair
from tests.forger import ABSENT, Forger, hs256
from tests.servers import ROOT, Pair, call, environment_for, serve_pair

STUDENT = {"username": "student1", "password": "password123"}


def log_in(pair: Pair) -> str:
    status, answer = call(f"{pair.auth.url}/token", form=STUDENT)
    assert status == 200
    token: str = answer["access_token"]
    return token


def test_no_shared_secret(pair: Pair, key_pair: KeyPair) -> None:
    """Promise 1: handed a private key, a resource server refuses to start."""
    environment = pair.course_environment | {"JWT_PUBLIC_KEY": key_pair.private_file.read_text()}

    refused = subprocess.run(
        [sys.executable, "-c", "import wsgi_course"],
        env=environment_for(environment),
        cwd=pair.course_folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert refused.returncode == 3
    assert refused.stderr.startswith("course_app cannot start: JWT_PUBLIC_KEY holds a private key")


def test_decentralised_verification(tmp_path: Path) -> None:
    """Promise 2: the resource server keeps accepting tokens while the issuer is stopped."""
    with serve_pair(tmp_path) as pair:
        token = log_in(pair)
        pair.auth.stop()

        with pytest.raises(OSError, match="refused"):
            call(f"{pair.auth.url}/healthz")
        statuses = [call(f"{pair.course.url}/courses", token)[0] for _ in range(20)]
        assert statuses == [200] * 20
        assert call(f"{pair.course.url}/courses", token + "x")[0] == 401


def test_breached_resource_server_cannot_forge_tokens(pair: Pair) -> None:
    """Promise 3: an attacker who has everything on the resource server cannot forge an accepted token."""
    token = log_in(pair)
    loot = steal(pair)
    public = next(key for text in loot if (key := as_public_key(text)))
    forger = Forger(
        rsa.generate_private_key(public_exponent=65537, key_size=2048),
        read_part(token, 0)["kid"],
        read_part(token, 1)["sub"],
    )
    good_claims = {name: read_part(token, 1)[name] for name in ("iss", "aud")}
    spellings = [
        public.public_bytes(encoding, form)
        for encoding, form in (
            (Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            (Encoding.PEM, PublicFormat.PKCS1),
            (Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
            (Encoding.DER, PublicFormat.PKCS1),
        )
    ]
    secrets = {*loot, *spellings, b"", *(text.strip() for text in (*loot, *spellings))}
    forged = [forger.sign({"alg": "HS256"}, hs256(secret), **good_claims) for secret in secrets]
    jwk = public_jwk(forger.key.public_key())
    forged += [
        forger.sign({"alg": "none"}, lambda _: b"", **good_claims),
        forger.sign(**good_claims),
        forger.sign({"jwk": jwk}, **good_claims),
        forger.sign({"jwk": jwk, "kid": ABSENT}, **good_claims),
        forger.sign({"jku": f"{pair.course.url}/openapi.json"}, **good_claims),
        forger.sign(None, lambda data: hashlib.sha256(data).digest(), **good_claims),
        # the signature of a genuine token, with other claims
        ".".join([*forger.sign(**good_claims).split(".")[:2], token.split(".")[2]]),
    ]

    accepted = [
        (service, attempt)
        for attempt in forged
        for service in (f"{pair.auth.url}/users/me", f"{pair.course.url}/courses")
        if call(service, attempt)[0] != 401
    ]
    assert len(forged) > 30
    assert accepted == []
    assert call(f"{pair.course.url}/courses", token)[0] == 200


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of processes in /proc")
def test_memory_of_the_resource_server_holds_no_private_key(pair: Pair) -> None:
    token = log_in(pair)
    assert call(f"{pair.course.url}/courses", token)[0] == 200
    pem = (pair.course_folder.parent / "auth/keys/private_key.pem").read_bytes()
    numbers = read_private_numbers(pem)
    modulus = spell(numbers.public_numbers.n)
    secrets = [spelled for number in (numbers.p, numbers.q, numbers.d) for spelled in spell(number)]

    course = [read_memory(process) for process in pair.course.workers()]
    auth = [read_memory(process) for process in pair.auth.workers()]

    assert all(any(text in memory for text in modulus) for memory in course), (
        "the search finds what is in memory"
    )
    assert any(text in memory for memory in auth for text in secrets), "and would find a private key"
    assert not any(text in memory for memory in course for text in secrets)


def steal(pair: Pair) -> set[bytes]:
    """Return every string in course_app's environment, folder and code."""
    loot = set()
    for process in pair.course.workers():
        loot |= set(Path(f"/proc/{process}/environ").read_bytes().split(b"\0"))
    loot |= {text.partition(b"=")[2] for text in set(loot)}
    loot |= {path.read_bytes() for path in pair.course_folder.rglob("*") if path.is_file()}
    for path in ROOT.glob("course_app/*.py"):
        loot |= set(re.findall(rb'"([^"\n]+)"', path.read_bytes()))
    return loot


def as_public_key(text: bytes) -> rsa.RSAPublicKey | None:
    with contextlib.suppress(ValueError):
        key = load_pem_public_key(text)
        return key if isinstance(key, rsa.RSAPublicKey) else None
    return None


def read_part(token: str, index: int) -> dict[str, str]:
    part = token.split(".")[index]
    members: dict[str, str] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return members


def read_private_numbers(pem: bytes) -> rsa.RSAPrivateNumbers:
    key = load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return key.private_numbers()


def spell(number: int) -> list[bytes]:
    """Return a large number in both byte orders in which a process may store it."""
    size = (number.bit_length() + 7) // 8
    return [number.to_bytes(size, "little"), number.to_bytes(size, "big")]


def read_memory(process: int) -> bytes:
    """Return the writable memory of a process, where its keys are."""
    found = []
    with Path(f"/proc/{process}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line):
                start, end = (int(bound, 16) for bound in match.groups())
                with contextlib.suppress(OSError):
                    memory.seek(start)
                    found.append(memory.read(end - start))
    return b"".join(found)
