"""Run a page's commands block by block in a single bash."""

import os
import select
import signal
import subprocess
from pathlib import Path

from tests.clones import reset_signals
from tests.docs.programs import LIMIT
from tests.servers import STOP_LIMIT

# Run each file that is named on descriptor 3, and report its end on 4. An error ends the shell, as it ends a
# script.
LOOP = """set -eu
while read -r file <&3; do
  . "$file" >"$file.output" 2>&1 </dev/null 3<&- 4>&-
  echo >&4
done
"""

MUST_FAIL = """set +e
{command}
[ $? -ne 0 ] || {{ echo "It should have failed, but succeeded."; exit 1; }}
set -e
"""


class Shell:
    """A bash that keeps its folder and variables between blocks."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        (read_commands, self._commands), (self._ends, write_end) = os.pipe(), os.pipe()
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec 3<&{read_commands} 4>&{write_end}\n{LOOP}"],
            cwd=folder,
            env=environment,
            pass_fds=[read_commands, write_end],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=reset_signals,
        )
        os.close(read_commands)
        os.close(write_end)

    @property
    def folder(self) -> Path:
        """The working folder."""
        return Path(f"/proc/{self._process.pid}/cwd").readlink()

    def run(self, command: str, script: Path, folder: Path | None = None, fails: bool = False) -> str:
        """Run commands from a new file `script`, in `folder` if given; return what they print."""
        if fails:
            command = MUST_FAIL.format(command=command.rstrip())
        if folder:
            command = f"cd '{folder}'\n{command}\ncd '{self.folder}'\n"
        script.write_text(command)
        os.write(self._commands, f"{script}\n".encode())
        ended, _, _ = select.select([self._ends], [], [], LIMIT)
        succeeded = bool(ended and os.read(self._ends, 1))
        output = Path(f"{script}.output")
        printed = output.read_text() if output.exists() else ""
        assert ended, f"it has not ended after {LIMIT} seconds, and printed:\n{printed}"
        assert succeeded, f"it failed, and printed:\n{printed}"
        return printed

    def stop(self) -> None:
        os.close(self._commands)
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_LIMIT)
        os.close(self._ends)
