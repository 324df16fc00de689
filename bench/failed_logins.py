"""Compare the times of failed logins of every kind: `.venv/bin/python -m bench.failed_logins`.

The time must not reveal whether a user exists, or which kind of hash a user has, and an attempt that the
throttle refuses must cost far less than others. Each round makes every kind of attempt once, in random order.
"""

import random
import tempfile
import time
from pathlib import Path
from statistics import median, quantiles

from argon2 import PasswordHasher
from flask.testing import FlaskClient
from pydantic import SecretStr
from sqlalchemy import delete, update
from werkzeug.security import generate_password_hash

from auth_app import create_app
from auth_app.accounts.throttle import PAIR_ALLOWANCE
from auth_app.accounts.users import add_user
from auth_app.database import db
from auth_app.keys.rotation import generate_key_pair
from auth_app.models import LoginFailure, User
from auth_app.settings import AuthSettings

ROUNDS = 100
KINDS = {
    "known user": "student1",
    "unknown user": "nobody",
    "disabled user": "teacher1",
    "user with a cheaper hash": "cheaper",
    "user with an imported hash": "imported",
    "throttled account": "throttled",
}


def attempt(client: FlaskClient, username: str) -> float:
    """Make one failed login, and return the milliseconds it took."""
    started = time.perf_counter()
    client.post("/token", data={"username": username, "password": "wrong password"})
    return (time.perf_counter() - started) * 1000


def measure(client: FlaskClient) -> dict[str, list[float]]:
    """Return the times of each kind of attempt, in milliseconds."""
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(ROUNDS):
        with client.application.app_context():
            db.session.execute(delete(LoginFailure))
            db.session.commit()
        for kind in random.sample(list(KINDS), len(KINDS)):
            if kind == "throttled account":
                for _ in range(PAIR_ALLOWANCE):
                    attempt(client, KINDS[kind])
            times[kind].append(attempt(client, KINDS[kind]))
    return times


def main() -> None:
    """Create an application in a temporary folder, measure, and print a table."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder) / "private_key.pem", Path(folder) / "public_key.pem"
        generate_key_pair(*keys)
        app = create_app(
            AuthSettings(
                auth_database_url=SecretStr(f"sqlite:///{folder}/auth.db"),
                jwt_private_key_file=keys[0],
                jwt_public_key_file=keys[1],
            )
        )
        for command in ("db upgrade", "demo-data"):
            app.test_cli_runner(catch_exceptions=False).invoke(args=command.split())
        with app.app_context():
            add_user("cheaper", PasswordHasher(1, 8192, 1).hash("password"), [])
            add_user("imported", generate_password_hash("password"), [])
            db.session.execute(update(User).where(User.username == "teacher1").values(is_disabled=True))
            db.session.commit()
        times = measure(app.test_client())
    base = median(times["known user"])
    print(f"| {ROUNDS} failed logins each | median, ms | middle half, ms | to a known user's |")
    print("|---|---|---|---|")
    for kind, values in times.items():
        low, middle, high = quantiles(values)
        print(f"| {kind} | {middle:.2f} | {low:.2f} to {high:.2f} | {middle / base:.2f} |")


if __name__ == "__main__":
    main()
