"""SQLite is set up so that several processes can use one file."""

from flask.testing import FlaskClient


def test_every_connection_is_set_up(service: FlaskClient) -> None:
    with service.application.app_context():
        connection = service.application.extensions["sqlalchemy"].session.connection()
        values = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "busy_timeout")
        ]

    assert values == ["wal", 1, 5000]
