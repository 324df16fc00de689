"""A client that sends each service its own access token (RFC 8707), which no other service accepts."""

import os
import sys

import requests

ISSUER, SUMMARY, COURSES = (os.environ[name] for name in ("OAUTH_ISSUER", "SUMMARY_URL", "COURSES_URL"))


class Login:
    """A user's session. The refresh token stays here; each service gets a token that is narrowed for it."""

    def __init__(self, username: str, password: str) -> None:
        # The session covers both services. Its first access token, which both would accept, is not used.
        tokens = self._post_token(username=username, password=password, resource=[SUMMARY, COURSES])
        self._refresh_token = tokens["refresh_token"]

    def narrow(self, resource: str, scope: str) -> str:
        """Return an access token for one service, with only the scope that is needed there."""
        tokens = self._post_token(
            grant_type="refresh_token", refresh_token=self._refresh_token, resource=resource, scope=scope
        )
        self._refresh_token = tokens["refresh_token"]
        return tokens["access_token"]

    def _post_token(self, **form: str | list[str]) -> dict[str, str]:
        response = requests.post(f"{ISSUER}/token", data=form, timeout=10)
        response.raise_for_status()
        tokens: dict[str, str] = response.json()
        return tokens


def main(username: str, password: str) -> None:
    """Log in and print the summary."""
    login = Login(username, password)
    headers = {
        "Authorization": f"Bearer {login.narrow(SUMMARY, 'courses:read')}",
        "Courses-Authorization": f"Bearer {login.narrow(COURSES, 'courses:read')}",
    }
    response = requests.get(f"{SUMMARY}/summary", headers=headers, timeout=10)
    print(response.status_code, response.text)


if __name__ == "__main__":
    main(*sys.argv[1:])
