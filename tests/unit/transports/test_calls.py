"""Unit tests of `flashq.transports.calls`."""

import asyncio
import json
from typing import Any

import pytest
from msgspec import Raw
from tests.unit.transports.bench import FakeTurns

from flashq.commands.session import Context, Session
from flashq.engine.engine import Engine
from flashq.engine.settings import Settings
from flashq.errors import FlashQError, NotFound, StorageError, Unauthorized
from flashq.model import Instant
from flashq.protocol import requests
from flashq.protocol.codec import encode
from flashq.security.identity import Identity
from flashq.transports.calls import Calls, Outcome, Pending


class Rig:
    """The calls of one door over a real engine; what is durable is what the test says."""

    def __init__(self, *, lazy: bool = False) -> None:
        words = iter(f"{n:x}" for n in range(1, 1_000))
        engine = Engine(Settings(), nonce=lambda: next(words), now=Instant(1_700_000_000_000, 1_000), recording=True)
        self.engine = engine
        self.turns = FakeTurns(engine, lazy=lazy)
        self.calls = Calls(Context(engine, self.turns.hub), self.turns)

    def begin(self, request: Any) -> Outcome | Pending:
        """One call, answered as a line."""
        return self.calls.begin(Session(), request, lambda reply, _: encode(reply))

    def pull(self, **members: Any) -> Pending:
        """A pull that has to wait."""
        pending = self.begin(requests.PullBatch(queue="q", count=1, **members))
        assert isinstance(pending, Pending)
        return pending

    def waiting(self) -> int:
        """How many jobs are ready."""
        return self.engine.lookup.stats().queued


def push(data: bytes = b"1") -> requests.Push:
    """A push of a plain job."""
    return requests.Push(queue="q", data=encode_raw(data))


def encode_raw(data: bytes) -> Any:
    """A payload."""
    return Raw(data)


def refused(pending: Pending) -> FlashQError:
    """What a call was refused with."""
    outcome = pending.future.result()
    assert isinstance(outcome, FlashQError)
    return outcome


async def test_what_is_durable_is_answered_at_once() -> None:
    """No future, no trip through the loop."""
    assert Rig().begin(push()) == b'{"ok":true,"id":1}'


async def test_an_answer_waits_for_the_disk() -> None:
    """It leaves when its group is safe, and not with an earlier one."""
    rig = Rig(lazy=True)
    first, second = rig.begin(push()), rig.begin(push())
    assert isinstance(first, Pending)
    assert isinstance(second, Pending)
    assert not first.waits
    rig.turns.sync(1)
    assert first.future.result() == b'{"ok":true,"id":1}'
    assert not second.future.done()
    rig.turns.sync()
    assert second.future.result() == b'{"ok":true,"id":2}'


async def test_a_refusal_waits_for_what_it_tells() -> None:
    """A duplicate names a job: that job must be safe before anybody hears of it."""
    rig = Rig(lazy=True)
    rig.begin(requests.Push(queue="q", data=encode_raw(b"1"), unique_key="k"))
    again = rig.begin(requests.Push(queue="q", data=encode_raw(b"1"), unique_key="k"))
    assert isinstance(again, Pending)
    assert not again.future.done()
    rig.turns.sync()
    assert str(refused(again)) == "Duplicate job with key: k"
    assert refused(again).__traceback__ is None


async def test_a_refusal_that_depends_on_nothing_is_told_at_once() -> None:
    """The common error costs no future either, and leads nowhere: a traceback would hold all that called."""
    outcome = Rig().begin(requests.Ack(id=7))
    assert isinstance(outcome, NotFound)
    assert str(outcome) == "Job 7 not found"
    assert outcome.__traceback__ is None


async def test_a_pull_waits_for_a_job_and_then_for_the_disk() -> None:
    """A job whose push is not safe is handed to nobody."""
    rig = Rig(lazy=True)
    pull = rig.pull()
    assert pull.waits
    rig.begin(push())
    assert not pull.future.done()
    rig.turns.sync()
    assert json.loads(pull.future.result())["jobs"][0]["id"] == 1


async def test_a_pull_whose_time_is_over_is_answered_with_nothing() -> None:
    """The engine's clock says when."""
    rig = Rig()
    pull = rig.pull(timeout=50)
    later = Instant(rig.turns.now.wall + 50, rig.turns.now.steady + 50)
    rig.engine.tick(later)
    rig.turns.hand_over(later)
    assert pull.future.result() == b'{"ok":true,"jobs":[]}'


async def test_who_is_gone_waits_no_more() -> None:
    """The next job is for somebody else."""
    rig = Rig()
    rig.calls.abandon(rig.pull())
    rig.begin(push())
    assert rig.waiting() == 1


async def test_jobs_of_an_answer_that_nobody_reads_go_back() -> None:
    """Uncounted, and at once: whether the answer still waited for the disk or was on its way."""
    rig = Rig(lazy=True)
    rig.begin(push())
    held = rig.pull()
    rig.calls.abandon(held)
    assert rig.waiting() == 1
    sent = rig.pull()
    rig.turns.sync()
    rig.calls.abandon(sent)
    assert rig.waiting() == 1
    job = rig.engine.lookup.job(1)
    assert job is not None
    assert job.attempts == 0


async def test_storage_that_failed_refuses_what_is_held() -> None:
    """None of it will ever be true."""
    rig = Rig(lazy=True)
    pending = rig.begin(push())
    assert isinstance(pending, Pending)
    rig.calls.refuse(StorageError("The storage failed"))
    assert isinstance(refused(pending), StorageError)
    rig.turns.sync()


async def test_jobs_of_a_refused_answer_go_back_once() -> None:
    """Also when the client of it leaves afterwards."""
    rig = Rig(lazy=True)
    pull = rig.pull()
    rig.begin(push())
    rig.calls.refuse(StorageError("away"))
    assert isinstance(refused(pull), StorageError)
    job = rig.engine.lookup.job(1)
    assert job is not None
    assert job.attempts == 0
    assert rig.engine.lookup.stats().queued == 1
    (again,) = rig.engine.dispatch.pull(rig.engine.queues.by_name["q"], 1, rig.turns.now)
    rig.calls.abandon(pull)
    assert rig.engine.lookup.stats().processing == 1
    assert again.id == 1


async def test_a_pull_whose_time_is_over_while_storage_is_away_is_refused() -> None:
    """That there is nothing would be a claim."""
    rig = Rig()
    pull = rig.pull(timeout=50)
    rig.calls.context.set_away(True)
    rig.turns.pass_time(50)
    assert isinstance(refused(pull), StorageError)


async def test_a_leaving_server_ends_all_waiting() -> None:
    """As if its time were over."""
    rig = Rig()
    pull = rig.pull()
    rig.calls.drain()
    assert pull.future.result() == b'{"ok":true,"jobs":[]}'
    assert len(rig.engine.parking) == 0


async def test_room_is_when_the_disk_has_caught_up() -> None:
    """Whoever asks for room while it is far behind waits for it."""
    rig = Rig()
    await rig.calls.room()
    rig.turns.held_back = True
    rig.calls.hold_back()
    asked = asyncio.ensure_future(rig.calls.room())
    await asyncio.sleep(0)
    assert not asked.done()
    rig.turns.held_back = False
    rig.calls.go_on()
    await asked


async def test_a_broken_invariant_is_reported() -> None:
    """It is no answer: the server must end."""
    rig = Rig()

    def shape(_: Any, __: Instant) -> bytes:
        raise RuntimeError("planted")

    with pytest.raises(RuntimeError):
        rig.calls.begin(Session(), push(), shape)
    assert [str(error) for error in rig.turns.broke] == ["planted"]


async def test_who_is_no_longer_welcome_waits_no_more() -> None:
    """A revoked identity's calls are refused and get no job; those of others wait on."""
    rig = Rig()
    gone, stays = Identity("gone"), Identity("stays")
    pulls = []
    for identity in (gone, stays):
        session = Session()
        session.identify(identity)
        request = requests.PullBatch(queue="q", count=1)
        pulls.append(rig.calls.begin(session, request, lambda reply, _: encode(reply)))
    gone.revoked = True
    rig.calls.let_go_revoked()
    first, second = pulls
    assert isinstance(first, Pending)
    assert isinstance(second, Pending)
    assert isinstance(refused(first), Unauthorized)
    assert not second.future.done()
    assert len(rig.engine.parking) == 1
