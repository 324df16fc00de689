"""Measure the memory of course_app's worker as it sees more and more tokens: `python -m bench.tokens_seen`.

The cache of verified tokens holds 1,024 of them. Each token is used only once: a first use costs most.
"""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from bench.forged import read_claims
from bench.servers import gunicorn, log_in, prepare, serve
from bench.usage import children, proportional_set_size
from flask_resource_server.tokens.keys import thumbprint
from tests.forger import Forger

STEPS = (100, 1_024, 10_000, 100_000)  # numbers of tokens seen at which to measure
AUTH_PORT, COURSE_PORT = 9740, 9741
ISSUER = f"http://127.0.0.1:{AUTH_PORT}"


def make_forger(folder: Path, token: str) -> Forger:
    """Return a function that signs tokens of the same session as `token`."""
    key = load_pem_private_key((folder / "keys/private_key.pem").read_bytes(), None)
    assert isinstance(key, RSAPrivateKey)
    claims = read_claims(token)
    return Forger(key, thumbprint(key.public_key()), claims["sub"], claims["sid"], ISSUER)


def send(folder: Path, tokens: list[str]) -> float:
    """Use each token once; return the requests per second. Raises `RuntimeError` for a status but 200."""
    file = folder / "tokens"
    file.write_text("\n".join(tokens))
    rate = 5000  # more than one worker can handle, so that each connection is always busy
    task = {"port": COURSE_PORT, "path": "/courses", "connections": 4, "tokens": str(file), "rate": rate}
    task["seconds"] = len(tokens) / rate
    done = subprocess.run(
        [sys.executable, "-m", "bench.stream"], input=json.dumps(task), stdout=-1, text=True, check=True
    )
    found = json.loads(done.stdout)
    if found["statuses"] != {"200": len(tokens)}:
        raise RuntimeError(found["statuses"])
    return len(tokens) / float(found["seconds"])


def main() -> None:
    """Measure, and print a table."""
    print("| distinct tokens seen | MiB of the worker | requests per second |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        environment = prepare(folder) | {"ISSUER": ISSUER}
        auth = serve(gunicorn("wsgi_auth:app", AUTH_PORT), environment, folder, AUTH_PORT, "1")
        course = serve(gunicorn("wsgi_course:app", COURSE_PORT), environment, folder, COURSE_PORT, "0")
        with auth, course as (url, pid):
            urllib.request.urlopen(f"{url}/readyz").close()  # noqa: S310
            (worker,) = children(pid)
            token = log_in(ISSUER)["access_token"]
            forger = make_forger(folder, token)
            send(folder, [token])  # the first request of a process loads what it needs
            print(f"| 1 | {proportional_set_size(worker):.1f} | |", flush=True)
            seen = 0
            for step in STEPS:
                status = read_claims(token)["status"]
                rate = 0.0
                while seen < step:
                    count = min(5000, step - seen)
                    rate = send(folder, [forger.sign(status=status) for _ in range(count)])
                    seen += count
                print(f"| {step:,} | {proportional_set_size(worker):.1f} | {rate:,.0f} |", flush=True)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).parent.parent))
    main()
