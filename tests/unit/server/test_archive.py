"""Unit tests of `flashq.server.archive`: a question waits for what it depends on, and the loop waits for no answer."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from tests.fakes.waiting import Waiting

from flashq.engine.engine import Engine
from flashq.engine.records import Actor, Happened
from flashq.engine.settings import Settings
from flashq.engine.trail import JobHistory, Question, Ring
from flashq.engine.waiters import Call
from flashq.errors import Overloaded, StorageError
from flashq.model import Instant
from flashq.server import archive as archive_module
from flashq.server.archive import Archive, RingReader
from flashq.server.runtime import Runtime
from flashq.storage.journal import Journal
from flashq.storage.memory import MemoryStorage

NOW = Instant(1_700_000_000_000, 1_000)


class Reader:
    """Reads when the test says so."""

    def __init__(self) -> None:
        self.asked: list[tuple[Question, Callable[[], None]]] = []

    def read(self, question: Question, done: Callable[[], None]) -> None:
        """Note it."""
        self.asked.append((question, done))


class Commits:
    """A disk that takes as long as the test wants."""

    def __init__(self) -> None:
        self.storage = MemoryStorage()
        self.submitted: list[int] = []

    def submit(self, number: int, blob: bytes) -> None:
        """Note it."""
        self.storage.commit(number, blob)
        self.submitted.append(number)


def made(reader: Any, journal: Journal | None = None) -> tuple[Runtime, Archive]:
    """A runtime with an archive."""
    loop = asyncio.get_running_loop()
    engine = Engine(Settings(), nonce=lambda: "n", now=NOW, recording=journal is not None)
    engine.outbox.auditing = True
    runtime = Runtime(engine, loop, lambda: NOW, pytest.fail, journal)
    return runtime, Archive(runtime, loop, reader)


async def turns(count: int = 3) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def test_an_answer_is_delivered_to_who_asked() -> None:
    """Once the question has been fed, which any thread may say."""
    reader, waiting = Reader(), Waiting()
    runtime, archive = made(reader)
    question = JobHistory(1)
    archive.ask(waiting, question, NOW)
    assert len(runtime.engine.parking) == 1
    ((asked, done),) = reader.asked
    assert asked is question
    await asyncio.to_thread(done)
    await turns()
    assert waiting.answers == [question]
    assert len(runtime.engine.parking) == 0


async def test_a_question_waits_for_the_disk() -> None:
    """What the same client was about to be told is in the answer, so reading begins when it is durable."""
    reader, disk = Reader(), Commits()
    runtime, archive = made(reader, Journal(0))
    runtime.start(disk)  # type: ignore[arg-type]
    runtime.engine.outbox.happened("pushed", "q", [1], NOW)
    archive.ask(Waiting(), JobHistory(1), NOW)
    await turns()
    assert (disk.submitted, reader.asked) == ([1], [])
    runtime.engine.outbox.happened("pushed", "q", [2], NOW)
    archive.ask(Waiting(), JobHistory(2), NOW)
    runtime.committed(1)
    await turns()
    assert [question.id for question, _ in reader.asked] == [1]  # type: ignore[union-attr]
    runtime.committed(2)
    assert [question.id for question, _ in reader.asked] == [1, 2]  # type: ignore[union-attr]
    runtime.stop()


async def test_who_has_gone_is_not_answered() -> None:
    """The reading goes on, and its answer is for nobody."""
    reader, waiting = Reader(), Waiting()
    runtime, archive = made(reader)
    archive.ask(waiting, JobHistory(1), NOW)
    assert runtime.engine.parking.unpark(waiting)
    reader.asked[0][1]()
    await turns()
    assert waiting.answers == []


async def test_questions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each may cost the disk's thread some milliseconds; one that was answered makes room."""
    monkeypatch.setattr(archive_module, "MAX_READINGS", 2)
    reader = Reader()
    _, archive = made(reader)
    archive.ask(Waiting(), JobHistory(1), NOW)
    archive.ask(Waiting(), JobHistory(1), NOW)
    with pytest.raises(Overloaded):
        archive.ask(Waiting(), JobHistory(1), NOW)
    reader.asked[0][1]()
    await turns()
    archive.ask(Waiting(), JobHistory(1), NOW)


async def test_a_disk_that_does_not_answer_ends_the_waiting_for_it() -> None:
    """Who asks what may never be safe is told so, and makes room; nothing is read, and other waits go on."""
    reader, early, late, other = Reader(), Waiting(), Waiting(), Waiting()
    runtime, archive = made(reader, Journal(0))
    archive.ask(early, JobHistory(1), NOW)
    runtime.engine.outbox.happened("pushed", "q", [1], NOW)
    runtime.engine.parking.park(Call(token=other, leave=str), None, NOW)
    archive.ask(late, JobHistory(1), NOW)
    archive.refuse(StorageError("The disk does not answer"))
    assert late.answers == [[]]
    assert (early.answers, other.answers) == ([], [])
    assert len(reader.asked) == 1
    assert archive._open == 1


async def test_a_ring_is_read_between_other_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slice a turn of the loop, so that a long history keeps nobody waiting."""
    monkeypatch.setattr("flashq.engine.trail._SLICE", 1)
    ring, waiting = Ring(), Waiting()
    ring.append([Happened(n, "active", "q", [1, 1], Actor("ada"), n) for n in range(1, 6)])
    _, archive = made(RingReader(ring, asyncio.get_running_loop()))
    question = JobHistory(1)
    archive.ask(waiting, question, NOW)
    assert len(question.answer()[0]) == 1
    await turns(2)
    assert waiting.answers == []
    await turns(5)
    assert waiting.answers == [question]
    assert [entry.attempt for entry in question.answer()[0]] == [1, 2, 3, 4, 5]


async def test_without_storage_history_goes_to_the_ring() -> None:
    """With the end of a turn, as it would go to the journal."""
    runtime, _ = made(Reader())
    runtime.ring = Ring()
    runtime.engine.outbox.happened("pushed", "q", [1], NOW)
    assert runtime.gather() == 0
    question = JobHistory(1)
    list(runtime.ring.read(question))
    assert len(question.answer()[0]) == 1
    assert runtime.engine.outbox.records == []
