"""A compiled query returns, fails and recovers like a query that SQLAlchemy executes."""

from collections.abc import Callable, Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError, ProgrammingError

from course_app.compiled_query import CompiledQuery
from tests.conftest import both_databases
from tests.databases import create_database

THINGS = sa.Table(
    "things", sa.MetaData(), sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.String)
)
FROM = CompiledQuery(
    sa.select(THINGS.c.id, THINGS.c.name)
    .where(THINGS.c.id >= sa.bindparam("first"), THINGS.c.name != sa.bindparam("without"))
    .order_by(THINGS.c.id)
    .limit(sa.bindparam("limit"))
)
PARAMETERS = {"first": 2, "without": "c", "limit": 2}


@pytest.fixture
def engine(new_database: Callable[[], str]) -> Iterator[sa.Engine]:
    engine = sa.create_engine(create_database(new_database()), pool_size=1, max_overflow=0, pool_timeout=5)
    yield engine
    engine.dispose()


def fill(engine: sa.Engine) -> None:
    THINGS.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(THINGS.insert(), [{"id": n, "name": name} for n, name in enumerate("ab%cde", 1)])


@both_databases
def test_rows_are_returned_as_dictionaries(engine: sa.Engine) -> None:
    fill(engine)

    assert FROM.fetch(engine, PARAMETERS) == [{"id": 2, "name": "b"}, {"id": 3, "name": "%"}]
    assert FROM.fetch(engine, PARAMETERS | {"first": 4}) == [{"id": 5, "name": "d"}, {"id": 6, "name": "e"}]
    assert FROM.fetch(engine, PARAMETERS | {"first": 7}) == []


@both_databases
def test_failure_raises_sqlalchemys_error_without_parameter_values(engine: sa.Engine) -> None:
    with pytest.raises((OperationalError, ProgrammingError)) as raised:
        FROM.fetch(engine, PARAMETERS | {"without": "secret"})

    assert "secret" not in str(raised.value)


@both_databases
def test_connection_can_be_used_again_after_a_failure(engine: sa.Engine) -> None:
    for _ in range(3):  # the pool has one connection, which each failure must return
        with pytest.raises((OperationalError, ProgrammingError)):
            FROM.fetch(engine, PARAMETERS)
    fill(engine)

    assert len(FROM.fetch(engine, PARAMETERS)) == 2


UNREACHABLE = {
    "sqlite": "sqlite:////no/such/folder/courses.db",
    "postgresql": "postgresql://nobody@127.0.0.1:1/courses?connect_timeout=2",
}


@pytest.mark.parametrize("url", UNREACHABLE.values(), ids=UNREACHABLE)
def test_unreachable_database_raises_sqlalchemys_error(url: str) -> None:
    engine = sa.create_engine(url)
    with pytest.raises(OperationalError):
        FROM.fetch(engine, PARAMETERS)
    engine.dispose()
