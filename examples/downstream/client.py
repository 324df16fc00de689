"""A client that sends each service a token of its own (RFC 8707), and no service a token for another."""

import os
import sys

import requests

ISSUER, SUMMARY, COURSES = (os.environ[name] for name in ("OAUTH_ISSUER", "SUMMARY_URL", "COURSES_URL"))


class Login:
    """A user's login. The refresh token stays here; what services get is narrowed."""

    def __init__(self, username: str, password: str) -> None:
        # The login covers both services. Its access token, which is good at both, is not used.
        answer = self._post_token(username=username, password=password, resource=[SUMMARY, COURSES])
        self._refresh_token = answer["refresh_token"]

    def narrow(self, resource: str, scope: str) -> str:
        """Return an access token for one service, with no more scope than is needed there."""
        answer = self._post_token(
            grant_type="refresh_token", refresh_token=self._refresh_token, resource=resource, scope=scope
        )
        self._refresh_token = answer["refresh_token"]
        return answer["access_token"]

    def _post_token(self, **form: str | list[str]) -> dict[str, str]:
        response = requests.post(f"{ISSUER}/token", data=form, timeout=10)
        response.raise_for_status()
        answer: dict[str, str] = response.json()
        return answer


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
