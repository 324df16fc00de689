"""Count logins and tokens."""

from prometheus_client import Counter, Gauge

LOGINS = Counter("logins_total", "Logins, by what came of them.", ["result"])
TOKENS = Counter("tokens_issued_total", "Access tokens, by the grant that asked for them.", ["grant"])
LOGOUT_NOTICES = Counter(
    "logout_notices_total", "Back-channel logouts sent to clients, by what came of them.", ["result"]
)
PASSWORD_HASHES = Counter(
    "password_hashes_total",
    "Password hashes computed, by algorithm and costs; a failed login computes one of every kind in use.",
    ["parameters"],
)
HASHES_IN_FLIGHT = Gauge(
    "password_hashes_in_flight", "Password hashes that are being computed.", multiprocess_mode="livesum"
)
