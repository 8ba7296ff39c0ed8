"""The one who pushes does the same with every system, and notices wrong results."""

import time
from types import SimpleNamespace

import pytest
from benchmarks.versus.driver import ENQUEUE, FIRST, LAST, MARKS, TRIPS, WARM_UP, drive, note_time


def plain(trip) -> tuple[SimpleNamespace, list[str]]:
    """An app with plain functions, and what was asked of it."""
    said: list[str] = []
    return SimpleNamespace(push=lambda: said.append("push"), mark=said.append, trip=trip), said


def asynchronous() -> tuple[SimpleNamespace, list[str]]:
    """An app with coroutine functions, and what was asked of it."""
    said: list[str] = []

    async def push() -> None:
        said.append("push")

    async def mark(name: str) -> None:
        said.append(name)

    async def trip(number: int) -> int:
        return number

    async def connect() -> None:
        said.append("connect")

    async def disconnect() -> None:
        said.append("disconnect")

    return SimpleNamespace(push=push, mark=mark, trip=trip, connect=connect, disconnect=disconnect), said


def test_pushes_stand_between_two_marks() -> None:
    """The time between the marks is the time of all the pushed tasks and of nothing else."""
    app, said = plain(lambda number: number)
    assert drive(app, ENQUEUE, 3) > 0
    assert said == [FIRST, "push", "push", "push", LAST]


def test_an_asynchronous_client_does_the_same_between_connecting_and_disconnecting() -> None:
    """Systems with plain and with asynchronous clients get the same work."""
    app, said = asynchronous()
    assert drive(app, ENQUEUE, 2) > 0
    assert said == ["connect", FIRST, "push", "push", LAST, "disconnect"]


def test_round_trips_count_without_the_warm_up() -> None:
    """As many times as were asked for come back, and the first ones, which connect and import, are not among them."""
    asked = []
    app, _ = plain(lambda number: asked.append(number) or number)
    assert len(drive(app, TRIPS, 5)) == 5
    assert len(asked) == WARM_UP + 5
    assert len(drive(asynchronous()[0], TRIPS, 5)) == 5


def test_a_wrong_result_is_noticed() -> None:
    """A system that mixes up its results is not fast, it is wrong."""
    app, _ = plain(lambda number: number if number < 3 else 2)
    with pytest.raises(RuntimeError, match="task 3 answered 2"):
        drive(app, TRIPS, 5)


def test_the_first_run_of_a_mark_counts(tmp_path, monkeypatch) -> None:
    """A system that runs the marking task once more does not move the moment at which it began to work."""
    monkeypatch.setenv(MARKS, str(tmp_path))
    before = time.monotonic()
    note_time(FIRST)
    noted = (tmp_path / FIRST).read_text(encoding="ascii")
    note_time(FIRST)
    assert (tmp_path / FIRST).read_text(encoding="ascii") == noted
    assert before <= float(noted) <= time.monotonic()
