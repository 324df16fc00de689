"""A problem that occurs on every request is logged once a minute."""

from collections.abc import Iterator

from flask_resource_server.problem_log import INTERVAL, MAXIMUM, ProblemLog


def tick(*times: float) -> Iterator[float]:
    yield from times


def test_problem_is_due_again_after_the_interval() -> None:
    times = tick(0, INTERVAL - 1, INTERVAL + 1, 2 * INTERVAL)
    log = ProblemLog(clock=times.__next__)

    assert [log.is_due("no keys") for _ in range(4)] == [True, False, True, False]


def test_each_problem_has_its_own_interval() -> None:
    log = ProblemLog(clock=lambda: 0)

    assert [log.is_due(problem) for problem in ("a", "b", "a", "b")] == [True, True, False, False]


def test_oldest_problem_is_forgotten_when_there_are_too_many() -> None:
    log = ProblemLog(clock=lambda: 0)
    problems = [f"problem {number}" for number in range(MAXIMUM + 1)]

    assert all(log.is_due(problem) for problem in problems)
    assert not any(log.is_due(problem) for problem in problems[1:])
    assert log.is_due(problems[0])
