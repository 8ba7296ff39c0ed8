"""Pulls whose caller has gone: taken over, kept for a moment, given back."""

import asyncio

import pytest

from flashq.client import orphans
from flashq.client.orphans import Orphans, PullKey
from flashq.errors import ConnectionLost
from flashq.protocol.requests import Pull, PullBatch

ONE = PullKey(Pull, ("q",), 1)
MANY = PullKey(PullBatch, ("q",), 5)
JOB = b'{"ok":true,"job":{"id":3,"queue":"q","data":1,"token":"t"}}'
JOBS = b'{"ok":true,"jobs":[{"id":3,"queue":"q","data":1,"token":"t"},{"id":4,"queue":"q","data":1,"token":"u"}]}'
NOTHING = b'{"ok":true,"job":null}'


class Returned:
    """Notes what is given back."""

    def __init__(self) -> None:
        self.jobs: list[tuple[int, str | None]] = []
        self.came = asyncio.Event()

    def __call__(self, id: int, token: str | None) -> None:
        """One job more."""
        self.jobs.append((id, token))
        self.came.set()


def answer(line: bytes | None = None) -> "asyncio.Future[bytes]":
    """An answer that has come, or is still to come."""
    future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    if line is not None:
        future.set_result(line)
    return future


async def turn() -> None:
    """Let the loop run what is due."""
    await asyncio.sleep(0)


async def test_the_next_caller_takes_over() -> None:
    """Who asks for ever takes the place of one who asked for ever: no second pull is parked."""
    left = Orphans(Returned())
    parked = answer()
    left.leave(ONE, parked, forever=True)
    assert left.adopt(MANY, forever=True) is None
    assert left.adopt(ONE, forever=True) is parked
    assert len(left) == 0
    parked.set_result(JOB)
    await turn()
    assert len(left) == 0


@pytest.mark.parametrize(("left_forever", "asks_forever"), [(True, False), (False, True), (False, False)])
async def test_times_must_fit(left_forever: bool, asks_forever: bool) -> None:
    """A pull that waits longer or shorter than asked is not taken over."""
    left = Orphans(Returned())
    left.leave(ONE, answer(), forever=left_forever)
    assert left.adopt(ONE, forever=asks_forever) is None


async def test_a_job_that_has_come_is_good_for_everybody() -> None:
    """Whoever asks next, and however long, gets the job that is already here."""
    returned = Returned()
    left = Orphans(returned)
    parked = answer()
    left.leave(ONE, parked, forever=True)
    parked.set_result(JOB)
    await turn()
    assert len(left) == 1
    assert left.adopt(ONE, forever=False) is parked
    left.close()
    assert returned.jobs == []


async def test_an_empty_answer_is_nobodys() -> None:
    """A wait that ended without a job leaves nothing behind, and is not handed to a new caller."""
    left = Orphans(Returned())
    parked = answer()
    left.leave(ONE, parked, forever=False)
    parked.set_result(NOTHING)
    assert left.adopt(ONE, forever=True) is None
    await turn()
    assert len(left) == 0


async def test_a_lost_connection_leaves_nothing() -> None:
    """An answer that will not come is forgotten, and its error is not reported as overlooked."""
    left = Orphans(Returned())
    parked = answer()
    left.leave(ONE, parked, forever=True)
    parked.set_exception(ConnectionLost("gone"))
    await turn()
    assert len(left) == 0


async def test_a_job_nobody_takes_is_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its moment the job goes back with its token, once."""
    monkeypatch.setattr(orphans, "HOLD_S", 0.001)
    returned = Returned()
    left = Orphans(returned)
    left.leave(ONE, answer(JOB), forever=True)
    await returned.came.wait()
    left.close()
    assert returned.jobs == [(3, "t")]


async def test_closing_gives_back_at_once() -> None:
    """A client that closes does not wait for the moment to pass: all jobs of a batch go back."""
    returned = Returned()
    left = Orphans(returned)
    left.leave(MANY, answer(JOBS), forever=True)
    left.leave(ONE, answer(), forever=True)
    await turn()
    left.close()
    assert returned.jobs == [(3, "t"), (4, "u")]


async def test_closing_in_the_same_turn() -> None:
    """A job that came in the very turn of the closing goes back once."""
    returned = Returned()
    left = Orphans(returned)
    left.leave(ONE, answer(JOB), forever=True)
    left.close()
    await turn()
    assert returned.jobs == [(3, "t")]


async def test_leaving_again_and_again_costs_nothing() -> None:
    """A caller who asks each second for a day leaves one trace, not one for each second."""
    left = Orphans(Returned())
    parked = answer()
    for _ in range(100):
        left.leave(ONE, parked, forever=True)
        assert left.adopt(ONE, forever=True) is parked
    assert not parked._callbacks


async def test_an_unreadable_answer_holds_no_job() -> None:
    """A broken answer is dropped like an empty one."""
    returned = Returned()
    left = Orphans(returned)
    left.leave(ONE, answer(b'{"ok":true'), forever=True)
    await turn()
    assert len(left) == 0
    assert returned.jobs == []


async def test_several_of_the_same_kind() -> None:
    """One orphan taken over leaves the others where they are."""
    left = Orphans(Returned())
    first, second = answer(), answer()
    left.leave(ONE, first, forever=True)
    left.leave(ONE, second, forever=True)
    assert left.adopt(ONE, forever=True) is first
    assert left.adopt(ONE, forever=True) is second


async def test_a_job_taken_in_time_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment that passes after somebody took the job gives nothing back."""
    monkeypatch.setattr(orphans, "HOLD_S", 0)
    returned = Returned()
    left = Orphans(returned)
    parked = answer()
    left.leave(ONE, parked, forever=True)
    parked.set_result(JOB)
    await turn()
    left.adopt(ONE, forever=True)
    await asyncio.sleep(0.005)
    assert returned.jobs == []
