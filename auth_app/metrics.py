"""Define the Prometheus metrics of the authorization server."""

from prometheus_client import Counter, Gauge

LOGINS = Counter("logins_total", "Login attempts, by result.", ["result"])
TOKENS = Counter("tokens_issued_total", "Access tokens issued, by grant type.", ["grant"])
LOGOUT_NOTICES = Counter("logout_notices_total", "Back-channel logout requests, by result.", ["result"])
PASSWORD_HASHES = Counter(
    "password_hashes_total",
    "Password hashes computed, by algorithm and cost parameters.",
    ["parameters"],
)
HASHES_IN_FLIGHT = Gauge(
    "password_hashes_in_flight", "Password hashes being computed.", multiprocess_mode="livesum"
)
