"""Insert very many sessions with one statement."""

import sqlalchemy as sa

_NUMBERS = (
    "WITH RECURSIVE numbers(i) AS (SELECT CAST(:first AS INTEGER) UNION ALL "
    "SELECT i + 1 FROM numbers WHERE i < CAST(:last AS INTEGER)) SELECT i FROM numbers"
)
_VALUES = {
    "sqlite": "lower(hex(randomblob(16))), printf('%064d', i)",
    "postgresql": "gen_random_uuid(), lpad(i::text, 64, '0')",
}

_INSERT = (
    "INSERT INTO sessions (id, family_hash, user_id, client_id, scope, resources, generation, "
    "refresh_token_hash, created_at, expires_at, status_list_id, status_index) "
    "SELECT {values}, u.id, 'first-party', '', '[]', u.session_generation, '', 1, 1099511627776, 1, i "
    "FROM ({numbers}) AS numbers, users AS u WHERE u.username = :username ON CONFLICT DO NOTHING"
)


def insert_sessions(engine: sa.Engine, username: str, indexes: range) -> None:
    """Give a user a live session at each free index of the first list."""
    statement = _INSERT.format(values=_VALUES[engine.dialect.name], numbers=_NUMBERS)
    parameters = {"first": indexes.start, "last": indexes.stop - 1, "username": username}
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        connection.execute(sa.text(statement), parameters)
