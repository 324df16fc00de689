"""Log in at a steady rate, to measure how other load affects logins: see bench.polling."""

import threading
import time
import urllib.request

from bench.servers import log_in

LOGINS = 4  # per second


class Logins(threading.Thread):
    """Logs in at a steady rate until `stop`; a login's time counts from when it was due."""

    def __init__(self, url: str, *, revoking: bool) -> None:
        super().__init__()
        self.url, self.revoking = url, revoking
        self.milliseconds: list[float] = []
        self.errors = 0
        self._stopped = threading.Event()

    def run(self) -> None:
        """Log in until stopped."""
        due = time.monotonic()
        while not self._stopped.wait(max(0, due - time.monotonic())):
            try:
                token = log_in(self.url)["access_token"]
                self.milliseconds.append((time.monotonic() - due) * 1000)
                if self.revoking:
                    revoke(self.url, token)
            except OSError:
                self.errors += 1
            due += 1 / LOGINS

    def stop(self) -> tuple[list[float], int]:
        """Stop, and return the milliseconds of each login, and how many failed."""
        self._stopped.set()
        self.join()
        return self.milliseconds, self.errors


def revoke(url: str, token: str) -> None:
    """End the session of a token, so that the status list changes."""
    urllib.request.urlopen(f"{url}/revoke", f"token={token}".encode()).close()  # noqa: S310
