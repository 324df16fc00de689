"""Without memory for a password hash, the service says so and does not count a failed login."""

import json
import subprocess
import sys
from pathlib import Path

from tests.servers import environment_for, run_flask

# Runs in its own process, whose remaining memory is half of what one hash needs.
PROGRAM = """
import json, resource
from pathlib import Path
from auth_app import create_app

client = create_app().test_client()

def log_in(username, password):
    return client.post("/token", data={"username": username, "password": password})

headers = {"Authorization": "Bearer " + log_in("admin1", "password789").json["access_token"]}
assert log_in("nobody", "wrong").status_code == 400
soft, hard = resource.getrlimit(resource.RLIMIT_AS)
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 64 * 2**20, hard))
answers = [log_in("student1", "password123").status_code for _ in range(7)]
answers += [log_in(username, "wrong").status_code for username in ["student1", "nobody"] * 7]
new = {"username": "ann", "password": "a good password"}
answers.append(client.post("/users", json=new, headers=headers).status_code)
resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
print(json.dumps({"without": sorted(set(answers)), "with": log_in("student1", "password123").status_code}))
"""


def test_running_out_of_memory_does_not_count_as_a_failed_login(tmp_path: Path) -> None:
    environment = {"AUTH_DATABASE_URL": f"sqlite:///{tmp_path}/auth.db", "ARGON2_MEMORY": str(128 * 1024)}
    (tmp_path / "keys").mkdir()
    for command in ("keys generate", "db upgrade", "demo-data"):
        run_flask("wsgi_auth", command, environment, tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment_for(environment),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"without": [503], "with": 200}
    errors = [line for line in done.stderr.splitlines() if "cannot compute a password hash" in line]
    assert len(errors) == 7 + 14 + 1
    assert all("Memory allocation error" in error for error in errors)
