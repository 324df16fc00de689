"""All workers and replicas count failed logins together, including simultaneous ones."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import sqlalchemy as sa

from auth_app.accounts.known_addresses import hash_key
from auth_app.accounts.throttle import MAXIMUM_DELAY, PAIR_ALLOWANCE
from auth_app.models import LoginFailure
from tests.conftest import both_databases
from tests.databases import create_database
from tests.servers import call, serve_replicas


@both_databases
def test_workers_and_replicas_count_failed_logins_together(
    new_database: Callable[[], str], tmp_path: Path
) -> None:
    """Two replicas with two workers each; the attacker sends to all of them at once."""
    url = create_database(new_database())
    wrong, right = ({"username": "student1", "password": password} for password in ("wrong", "password123"))
    with serve_replicas(tmp_path / "replicas", url) as replicas, ThreadPoolExecutor(8) as pool:
        fail_before(url, PAIR_ALLOWANCE + 6, MAXIMUM_DELAY)  # the next failure costs two minutes
        urls = [f"{replica.url}/token" for replica in replicas] * 30
        found = list(pool.map(lambda url: call(url, form=wrong)[0], urls))
        after = [call(f"{replica.url}/token", form=right)[0] for replica in replicas]

    assert found.count(400) == 1, "however many arrive at the same moment"
    assert set(found) == {400, 429}
    assert after == [429, 429]


def fail_before(url: str, count: int, seconds: float) -> None:
    """Store failed logins of student1 from this host, some time ago."""
    row = {
        "account": hash_key("account student1"),
        "address": hash_key("address 127.0.0.1"),
        "failed_at": time.time() - seconds,
    }
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.insert(LoginFailure), [row] * count)
    engine.dispose()
