"""The writer commits in order, tidies only in quiet moments, and confirms nothing after a failure."""

import threading
from collections.abc import Callable, Generator, Iterator
from itertools import count
from math import inf
from pathlib import Path
from queue import SimpleQueue

import pytest

from flashq.engine.records import Snapshot
from flashq.engine.trail import JobHistory, Question
from flashq.errors import StorageError
from flashq.storage import writer as writer_module
from flashq.storage.backup import Backup
from flashq.storage.writer import Writer

WAIT_S = 10


class Recorder:
    """A storage that notes what it is asked, and does at each call what the test wants."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.on_commit: Callable[[int], None] = lambda number: None
        self.on_tidy: Callable[[bool], bool] = lambda idle: False
        self.on_slice: Callable[[int], None] = lambda number: None
        self.slices = 3

    def open(self) -> int:
        """Part of the seam."""
        return 0

    def load(self) -> Snapshot:
        """Part of the seam."""
        return Snapshot(1, 1, 0, [], [], [], [])

    def commit(self, number: int, blob: bytes) -> None:
        """Note it."""
        self.calls.append(f"commit {number} {blob.decode()}")
        self.on_commit(number)

    def tidy(self, *, idle: bool) -> bool:
        """Note it."""
        self.calls.append("tidy idle" if idle else "tidy")
        return self.on_tidy(idle)

    def read(self, question: Question) -> Iterator[None]:
        """Note each slice."""
        for number in range(1, self.slices + 1):
            self.calls.append(f"slice {number}")
            self.on_slice(number)
            if number < self.slices:
                yield

    @property
    def held_until_ms(self) -> float:
        """Part of the seam."""
        return inf

    def give_up(self) -> None:
        """Part of the seam."""

    def close(self) -> None:
        """Part of the seam."""


ticks = count(0, 7).__next__
"""A clock that goes on by 7 µs each time it is asked."""


class Told:
    """What the writer reported."""

    def __init__(self) -> None:
        self.done: SimpleQueue[int] = SimpleQueue()
        self.took: SimpleQueue[int] = SimpleQueue()
        self.failed: SimpleQueue[BaseException] = SimpleQueue()

    def safe(self, number: int, took_us: int) -> None:
        """A group is."""
        self.took.put(took_us)
        self.done.put(number)


@pytest.fixture(autouse=True)
def no_moment_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless a test wants one: how long the system lets the test's own thread wait for its turn decides nothing."""
    monkeypatch.setattr(writer_module, "QUIET_S", 3_600)


@pytest.fixture
def quiet_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """When nothing is to be done, for as short as can be."""
    monkeypatch.setattr(writer_module, "QUIET_S", 0.001)


@pytest.fixture
def storage() -> Recorder:
    """A storage that only notes."""
    return Recorder()


@pytest.fixture
def told() -> Told:
    """The two callables' other ends."""
    return Told()


def test_groups_are_committed_in_order_and_told(storage: Recorder, told: Told) -> None:
    """Each group is written, then confirmed; stop waits for all that was submitted."""
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    for number in (1, 2, 3):
        writer.submit(number, b"blob")
    writer.stop()
    assert [told.done.get_nowait() for _ in range(3)] == [1, 2, 3]
    assert [call for call in storage.calls if call.startswith("commit")] == [f"commit {n} blob" for n in (1, 2, 3)]
    assert told.failed.empty()


def test_commits_are_timed(storage: Recorder, told: Told) -> None:
    """Each is told with the time between the clock before it and the clock after it."""
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    writer.submit(1, b"a")
    writer.submit(2, b"b")
    writer.stop()
    assert [told.took.get_nowait() for _ in range(2)] == [7, 7]


def test_a_slice_is_offered_after_each_commit(storage: Recorder, told: Told) -> None:
    """Under constant load storage is asked too, so that its bounds can hold."""
    offered = threading.Event()
    storage.on_tidy = lambda idle: bool(offered.set())
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    writer.submit(1, b"a")
    assert told.done.get(timeout=WAIT_S) == 1
    assert offered.wait(WAIT_S)
    writer.stop()
    assert storage.calls[:2] == ["commit 1 a", "tidy"]


@pytest.mark.usefixtures("quiet_soon")
def test_an_idle_storage_is_asked_again(storage: Recorder, told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs out by itself is let go of though nobody does anything; a group that comes is written as ever."""
    monkeypatch.setattr(writer_module, "IDLE_S", 0.001)
    asked = threading.Semaphore(0)
    storage.on_tidy = lambda idle: bool(asked.release())
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    for _ in range(3):
        assert asked.acquire(timeout=WAIT_S)
    writer.submit(1, b"a")
    assert told.done.get(timeout=WAIT_S) == 1
    writer.stop()
    assert storage.calls[:3] == ["tidy idle"] * 3


@pytest.mark.usefixtures("quiet_soon")
def test_quiet_moments_are_used_until_nothing_is_left(storage: Recorder, told: Told) -> None:
    """With nothing to commit the slices follow each other until storage has no more to do."""
    left = [True, True, False]
    finished = threading.Event()

    def tidy(idle: bool) -> bool:
        more = left.pop(0)
        if not more:
            finished.set()
        return more

    storage.on_tidy = tidy
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    assert finished.wait(WAIT_S)
    writer.stop()
    assert storage.calls == ["tidy idle"] * 3


@pytest.mark.usefixtures("quiet_soon")
def test_a_waiting_group_goes_before_the_next_slice(storage: Recorder, told: Told) -> None:
    """Upkeep that would go on for ever lets a group through after the slice that is running."""
    made = threading.Event()

    def tidy(idle: bool) -> bool:
        assert made.wait(WAIT_S)
        if len(storage.calls) == 3:
            writer.submit(1, b"urgent")
        return "commit 1 urgent" not in storage.calls

    storage.on_tidy = tidy
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    made.set()
    assert told.done.get(timeout=WAIT_S) == 1
    writer.stop()
    assert storage.calls[:4] == ["tidy idle"] * 3 + ["commit 1 urgent"]


def test_stop_does_no_more_upkeep(storage: Recorder, told: Told) -> None:
    """Once told to stop, the writer commits what waits and leaves the rest for the next start."""
    committing, go_on = threading.Event(), threading.Event()

    def commit(number: int) -> None:
        committing.set()
        go_on.wait(WAIT_S)

    storage.on_commit = commit
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    writer.submit(1, b"a")
    writer.submit(2, b"b")
    assert committing.wait(WAIT_S)
    stopper = threading.Thread(target=writer.stop)
    stopper.start()
    while not writer._stopping:
        pass
    go_on.set()
    stopper.join(WAIT_S)
    assert storage.calls == ["commit 1 a", "commit 2 b"]


def test_a_failed_commit_ends_everything(storage: Recorder, told: Told) -> None:
    """After a failure nothing is committed or confirmed, and it is told once."""

    def commit(number: int) -> None:
        if number == 2:
            raise StorageError("the disk is gone")

    storage.on_commit = commit
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    for number in (1, 2, 3):
        writer.submit(number, b"x")
    assert str(told.failed.get(timeout=WAIT_S)) == "the disk is gone"
    writer.submit(4, b"x")
    writer.stop()
    assert told.done.get_nowait() == 1
    assert told.done.empty()
    assert told.failed.empty()
    assert [call for call in storage.calls if call.startswith("commit")] == ["commit 1 x", "commit 2 x"]


@pytest.mark.usefixtures("quiet_soon")
@pytest.mark.parametrize("idle", [False, True])
def test_failed_upkeep_ends_everything(storage: Recorder, told: Told, idle: bool) -> None:
    """An error of the disk during upkeep is as final as one of a commit."""

    def tidy(when_idle: bool) -> bool:
        if when_idle == idle:
            raise StorageError("the disk is gone")
        return False

    storage.on_tidy = tidy
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    if not idle:
        writer.submit(1, b"x")
    assert isinstance(told.failed.get(timeout=WAIT_S), StorageError)
    writer.submit(2, b"x")
    writer.stop()
    assert "commit 2 x" not in storage.calls


def test_a_failure_to_tell_is_a_failure(storage: Recorder, told: Told) -> None:
    """A confirmation that reaches nobody ends the writer as well."""

    def done(number: int, took_us: int) -> None:
        raise RuntimeError("the loop is closed")

    writer = Writer(storage, done, told.failed.put, ticks)
    writer.submit(1, b"x")
    assert str(told.failed.get(timeout=WAIT_S)) == "the loop is closed"
    writer.stop()


def test_a_commit_comes_between_the_slices_of_a_reading(storage: Recorder, told: Told) -> None:
    """A question does not keep those waiting who wait for the disk, and upkeep moves nothing under it."""
    writer = Writer(storage, told.safe, told.failed.put, ticks)

    def on_slice(number: int) -> None:
        if number == 1:
            writer.submit(1, b"blob")

    storage.on_slice = on_slice
    fed = threading.Event()
    writer.read(JobHistory(1), fed.set)
    assert fed.wait(WAIT_S)
    assert told.done.get(timeout=WAIT_S) == 1
    writer.stop()
    begin = storage.calls.index("slice 1")
    assert storage.calls[begin : begin + 5] == ["slice 1", "commit 1 blob", "slice 2", "slice 3", "tidy"]


def test_readings_come_one_after_the_other(storage: Recorder, told: Told) -> None:
    """And upkeep has its turn between them: it cannot be kept away by questions."""
    storage.slices = 2
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    fed = threading.Event()
    writer.read(JobHistory(1), lambda: None)
    writer.read(JobHistory(2), fed.set)
    assert fed.wait(WAIT_S)
    writer.stop()
    done = [call for call in storage.calls if call != "tidy idle"]
    assert done == ["slice 1", "slice 2", "tidy"] * 2


def test_a_reading_sees_what_was_submitted_before_it(storage: Recorder, told: Told) -> None:
    """Or a client would miss in the history what it has been told."""
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    fed = threading.Event()
    writer.submit(1, b"blob")
    writer.read(JobHistory(1), fed.set)
    assert fed.wait(WAIT_S)
    writer.stop()
    assert storage.calls.index("commit 1 blob") < storage.calls.index("slice 1")


def test_stop_waits_for_no_question(storage: Recorder, told: Told) -> None:
    """What was submitted is committed; questions are left."""
    storage.slices = 1_000_000
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    begun = threading.Event()
    storage.on_slice = lambda _: begun.set()
    fed = threading.Event()
    writer.read(JobHistory(1), fed.set)
    assert begun.wait(WAIT_S)
    writer.submit(1, b"blob")
    writer.stop()
    assert "commit 1 blob" in storage.calls
    assert not fed.is_set()


def test_a_reading_that_fails_ends_the_writer(storage: Recorder, told: Told) -> None:
    """A page that cannot be read is a disk that cannot be trusted."""

    def on_slice(_: int) -> None:
        raise StorageError("bad page")

    storage.on_slice = on_slice
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    writer.read(JobHistory(1), lambda: None)
    assert str(told.failed.get(timeout=WAIT_S)) == "bad page"
    writer.stop()


def test_a_stop_does_not_wait_for_ever(storage: Recorder, told: Told) -> None:
    """A disk that hangs keeps the thread; whoever stops it is told so, and may ask again."""
    hangs, begun = threading.Event(), threading.Event()

    def hang(_: int) -> None:
        begun.set()
        hangs.wait(WAIT_S)

    storage.on_commit = hang
    writer = Writer(storage, told.safe, told.failed.put, ticks)
    writer.submit(1, b"a")
    assert begun.wait(WAIT_S)
    assert not writer.stop(0.01)
    hangs.set()
    assert writer.stop(WAIT_S)
    assert told.done.get_nowait() == 1


MADE = Backup(Path("made.db"), 4_096, 7)


def copied(
    storage: Recorder, steps: int = 3, each: Callable[[int], object] = lambda step: None
) -> Generator[None, None, Backup]:
    """A backup that notes its steps, and its end."""
    try:
        for step in range(1, steps + 1):
            storage.calls.append(f"step {step}")
            each(step)
            yield
        return MADE
    finally:
        storage.calls.append("copied")


def test_a_backup_is_made_between_commits(storage: Recorder, told: Told) -> None:
    """A commit waits for one step of it at the most, and upkeep is offered its slice before each."""
    outcomes: SimpleQueue[Backup | Exception] = SimpleQueue()
    writer = Writer(storage, told.safe, told.failed.put, ticks)

    def each(step: int) -> None:
        if step == 1:
            writer.submit(1, b"a")
            writer.submit(2, b"b")

    writer.back_up(copied(storage, each=each), outcomes.put)
    assert outcomes.get(timeout=WAIT_S) is MADE
    writer.stop()
    assert [call for call in storage.calls if call != "tidy"] == [
        *("step 1", "commit 1 a", "step 2", "commit 2 b", "step 3", "copied")
    ]
    assert storage.calls[:6] == ["tidy", "step 1", "commit 1 a", "tidy", "step 2", "commit 2 b"]
    assert told.failed.empty()


def test_a_backup_goes_on_while_nothing_is_committed(storage: Recorder, told: Told) -> None:
    """And questions are answered meanwhile."""
    outcomes: SimpleQueue[Backup | Exception] = SimpleQueue()
    fed = threading.Event()
    writer = Writer(storage, told.safe, told.failed.put, ticks)

    def each(step: int) -> None:
        if step == 2:
            writer.read(JobHistory(1), fed.set)

    writer.back_up(copied(storage, steps=20, each=each), outcomes.put)
    assert outcomes.get(timeout=WAIT_S) is MADE
    assert fed.is_set()
    writer.stop()
    assert storage.calls.index("slice 3") < storage.calls.index("step 20")


def test_a_backup_that_fails_is_only_that(storage: Recorder, told: Told) -> None:
    """Whoever asked is told; commits go on, and so may another backup."""
    outcomes: SimpleQueue[Backup | Exception] = SimpleQueue()
    writer = Writer(storage, told.safe, told.failed.put, ticks)

    def each(step: int) -> None:
        if step == 2:
            raise StorageError("no room")

    writer.back_up(copied(storage, each=each), outcomes.put)
    assert str(outcomes.get(timeout=WAIT_S)) == "no room"
    writer.submit(1, b"a")
    assert told.done.get(timeout=WAIT_S) == 1
    writer.back_up(copied(storage), outcomes.put)
    assert outcomes.get(timeout=WAIT_S) is MADE
    writer.stop()
    assert told.failed.empty()


@pytest.mark.parametrize("ends", ["stop", "failure"])
def test_an_ending_writer_gives_a_backup_up(storage: Recorder, told: Told, ends: str) -> None:
    """It is closed, so that it can remove what it has made, and nobody is told."""
    outcomes: SimpleQueue[Backup | Exception] = SimpleQueue()
    began = threading.Event()
    writer = Writer(storage, told.safe, told.failed.put, ticks)

    def commit(number: int) -> None:
        raise StorageError("the disk is gone")

    storage.on_commit = commit
    writer.back_up(copied(storage, steps=1_000_000, each=lambda _: began.set()), outcomes.put)
    assert began.wait(WAIT_S)
    if ends == "failure":
        writer.submit(1, b"a")
        told.failed.get(timeout=WAIT_S)
    assert writer.stop(WAIT_S)
    assert storage.calls[-1] == "copied"
    assert outcomes.empty()
