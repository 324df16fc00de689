"""A job that calls a service with its own token (client credentials grant), and renews it when it expires."""

import os
import sys
import time

from authlib.integrations.requests_client import OAuth2Session

SERVICE = os.environ["SERVICE_URL"]


def open_session() -> OAuth2Session:
    """Return a session that sends an access token with each request."""
    session = OAuth2Session(
        os.environ["CLIENT_ID"],
        os.environ["CLIENT_SECRET"],
        scope="courses:read",
        token_endpoint=f"{os.environ['OAUTH_ISSUER']}/token",
        grant_type="client_credentials",  # makes Authlib renew the token automatically
        leeway=5,  # seconds before the token expires
        default_timeout=10,
    )
    session.fetch_token()
    return session


def count_courses(session: OAuth2Session) -> int:
    """Return the number of courses on all pages."""
    count, page = 0, "/courses"
    while page:
        response = session.get(f"{SERVICE}{page}")
        response.raise_for_status()
        body = response.json()
        count += len(body["courses"])
        page = body["next"]
    return count


def main(seconds: float) -> None:
    """Print the number of courses every few seconds, until Ctrl-C."""
    session = open_session()
    while True:
        print(count_courses(session), "courses", flush=True)
        time.sleep(seconds)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else 10)
