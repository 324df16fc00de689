"""The key that the peers verify with, and the claims that they check: the same for all."""

import os

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

AUDIENCE = os.environ["RESOURCE"]
ISSUER = os.environ["ISSUER"]
PEM = os.environ["BENCH_PUBLIC_KEY"]
_key = load_pem_public_key(PEM.encode())
assert isinstance(_key, RSAPublicKey)
PUBLIC_KEY = _key  # loaded once: parsing a PEM string at each request costs more than the signature
