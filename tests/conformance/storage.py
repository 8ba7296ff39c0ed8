"""What every storage has to do, as one suite: subclass it, say how to make a storage, and make it pass.

The judge is `Model`: it applies each record to plain rows at once, the way the records describe themselves, and
shares no code with the fold. Histories are made from small random steps, but are legal: a job that has ended is named
again by nothing but a purge.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from flashq.engine.records import (
    STARTED,
    Actor,
    Added,
    CallRow,
    CallsOver,
    CallsOwed,
    Changed,
    Collected,
    Completed,
    CronDeleted,
    CronRow,
    CronSet,
    Dropped,
    Happened,
    Imported,
    ImportEnded,
    JobRow,
    Operated,
    Overfilled,
    Progressed,
    Pushed,
    QueueRow,
    QueueSet,
    Record,
    Snapshot,
    WebhookDeleted,
    WebhookRow,
    WebhookSet,
)
from flashq.engine.trail import JobHistory, Operations, Question, numbered
from flashq.errors import StorageError
from flashq.model import COMPLETED, DELAYED, FAILED, WAITING, WAITING_CHILDREN
from flashq.storage.base import Storage
from flashq.storage.records import encode

Seen = dict[str, Any]
Step = tuple[str, int, int, str]


def json_of(text: str) -> bytes:
    """A text as a payload: the doors let nothing through that is not JSON."""
    return json.dumps(text, ensure_ascii=False).encode()


def seen(snapshot: Snapshot) -> Seen:
    """A snapshot as plain values that can be compared; its jobs are read. The epoch is left out."""
    jobs = list(snapshot.rows())
    assert [job.id for job in jobs] == sorted({job.id for job in jobs}), "jobs come in the order of their ids"
    return {
        "next_id": snapshot.next_id,
        "completions": snapshot.completions,
        "jobs": [{**structs.asdict(job), "inputs": sorted(job.inputs or ())} for job in jobs],
        "queues": [structs.asdict(row) for row in snapshot.queues],
        "crons": [structs.asdict(row) for row in snapshot.crons],
        "dropped": list(snapshot.dropped),
        "webhooks": [structs.asdict(row) for row in snapshot.webhooks],
        "calls": [structs.asdict(call) for call in snapshot.calls],
    }


class Model:
    """Rows in dicts, every record applied at once."""

    KEEP_DROPPED = 50_000

    def __init__(self) -> None:
        self.next_id, self.completions = 1, 0
        self.jobs: dict[int, JobRow] = {}
        self.queues: dict[str, QueueRow] = {}
        self.crons: dict[str, CronRow] = {}
        self.dropped: list[int] = []
        self.webhooks: dict[str, WebhookRow] = {}
        self.calls: dict[int, CallRow] = {}
        self.trail: list[Record] = []

    def apply(self, record: Record) -> None:
        """One record."""
        match record:
            case Pushed():
                for id, data in enumerate(record.data, record.first):
                    born = (WAITING, record.priority, record.created_at, record.created_at, 0, 0)
                    options = (record.max_attempts, record.backoff, record.ttl, record.timeout)
                    self.add(JobRow(id, record.queue, *born, *options, data))
            case Added(row):
                self.add(structs.replace(row))
            case Changed():
                row = self.jobs[record.id]
                for name in structs.asdict(record).keys() - {"id", "queue"}:
                    setattr(row, name, getattr(record, name))
                self.queue(record.queue).failed += record.state == FAILED
                self.forget_idle_queue(record.queue)
            case Completed():
                self.complete(record)
            case Dropped():
                for id in record.ids:
                    self.jobs.pop(id, None)
                    self.dropped.append(id)
                del self.dropped[: -self.KEEP_DROPPED]
                queue = self.queue(record.queue)
                setattr(queue, record.reason, getattr(queue, record.reason) + len(record.ids))
            case Progressed():
                self.jobs[record.id].progress = record.progress
                self.jobs[record.id].message = record.message
            case QueueSet():
                queue = self.queue(record.name)
                queue.paused, queue.rate_limit = record.paused, record.rate_limit
                queue.concurrency_limit = record.concurrency_limit
            case CronSet(row):
                self.crons[row.name] = row
            case CronDeleted():
                self.crons.pop(record.name, None)
            case Collected():
                for id in record.children:
                    given = dict(self.jobs[id].inputs or ()) | {record.parent: record.result}
                    self.jobs[id].inputs = list(given.items())
            case Overfilled():
                self.jobs[record.id].inputs, self.jobs[record.id].excess = None, record.excess
            case WebhookSet(row):
                self.webhooks[row.id] = row
            case WebhookDeleted():
                del self.webhooks[record.id]
                self.calls = {number: call for number, call in self.calls.items() if call.webhook != record.id}
            case CallsOwed():
                for number, webhook in enumerate(record.webhooks, record.first):
                    self.calls[number] = CallRow(number, webhook, record.body)
            case CallsOver():
                for number in record.numbers:
                    del self.calls[number]
            case Happened() | Operated():
                self.trail.append(record)

    def add(self, row: JobRow) -> None:
        """A new job."""
        self.jobs[row.id] = row
        self.next_id = max(self.next_id, row.id + 1)
        self.queue(row.queue).pushed += 1
        self.queue(row.queue).failed += row.state == FAILED

    def complete(self, record: Completed) -> None:
        """A delivery succeeded; what is too old is forgotten."""
        results = dict(record.results)
        for done, id in enumerate(record.ids, record.done):
            row = self.jobs[id]
            row.state, row.done, row.done_at, row.token = COMPLETED, done, record.done_at, record.token
            row.started_at, row.result = record.started_at, results.get(id)
            row.inputs = None
        self.completions += len(record.ids)
        self.queue(record.queue).completed += len(record.ids)
        for id, row in list(self.jobs.items()):
            if 0 < row.done < record.forget:
                del self.jobs[id]
            elif 0 < row.done < record.forget_results:
                row.result = None

    def queue(self, name: str) -> QueueRow:
        """A queue, made when it is first heard of."""
        return self.queues.setdefault(name, QueueRow(name))

    def forget_idle_queue(self, name: str) -> None:
        """A change that counts nothing does not make a queue known."""
        if self.queues[name] == QueueRow(name):
            del self.queues[name]

    def snapshot(self) -> Snapshot:
        """What a storage should load."""
        return Snapshot(
            self.next_id,
            0,
            self.completions,
            [structs.replace(self.jobs[id]) for id in sorted(self.jobs)],
            [structs.replace(self.queues[name]) for name in sorted(self.queues)],
            [self.crons[name] for name in sorted(self.crons)],
            list(self.dropped),
            [self.webhooks[id] for id in sorted(self.webhooks)],
            [self.calls[number] for number in sorted(self.calls)],
        )


def asked(storage: Storage, *questions: Question) -> list[Any]:
    """The answers of a storage to questions about the past."""
    for question in questions:
        for _ in storage.read(question):
            pass
    return [question.answer() for question in questions]


def answered(model: Model, *questions: Question) -> list[Any]:
    """The answers that these should be."""
    for question in questions:
        question.feed(numbered(model.trail, 0)[0])
    return [question.answer() for question in questions]


def questions(newest: int) -> list[Question]:
    """About each job of a short history, and about the operators, whole and by a page from the middle."""
    jobs: list[Question] = [JobHistory(id) for id in range(1, 70, 3)]
    return [*jobs, Operations(0, 1_000, 0), Operations(1_005, 2, newest // 2)]


class History:
    """Legal records from small random steps, applied to a model on the way."""

    KEEP, KEEP_RESULTS = 9, 5

    def __init__(self) -> None:
        self.model = Model()
        self.clock = 1_000
        self.turn: list[Record] = []

    def live(self) -> list[int]:
        """Jobs that have not ended."""
        return [id for id, row in sorted(self.model.jobs.items()) if row.state != COMPLETED]

    def note(self, record: Record) -> None:
        """It happened."""
        self.turn.append(record)
        self.model.apply(record)

    def step(self, kind: str, a: int, b: int, text: str) -> None:
        """One step; what it means depends on where the history stands, and it may mean nothing."""
        self.clock += 1
        getattr(self, "do_" + kind)(a, b, text)

    def do_push(self, a: int, b: int, text: str) -> None:
        """A batch of plain jobs, some long enough to be stored as a stretch."""
        data = [f'{{"n":{place},"text":"ä"}}'.encode() for place in range(1 + a * (b % 3))]
        self.note(Pushed("q" + text[:1], self.model.next_id, self.clock, b - 5, 3, 1000, a, b, data))

    def do_add(self, a: int, b: int, text: str) -> None:
        """A job with something out of the ordinary."""
        state = (DELAYED, FAILED, WAITING_CHILDREN, WAITING)[a % 4]
        row = JobRow(self.model.next_id, "q" + text[:1], state, b, self.clock, self.clock + a, 0, 0, 3, 0, 0, 0, b'"x"')
        row.unique_key, row.custom_id = text or None, None if b % 2 else text
        row.depends_on, row.tags = [[1, 2**53 - 1], None, []][a % 3], [None, [text, "red"], []][b % 3]
        row.collect = a % 4 == 2
        row.inputs = [(1, json_of(text))] if row.collect and b % 2 else None
        self.note(Added(row))

    def do_change(self, a: int, b: int, text: str) -> None:
        """A job waits for a retry, is buried or comes back."""
        if live := self.live():
            row = self.model.jobs[live[a % len(live)]]
            state = (WAITING, DELAYED, FAILED)[b % 3]
            message = text or None
            self.note(Changed(row.id, row.queue, state, self.clock, self.clock - 1, row.attempts + 1, message, 2, a, b))

    def do_complete(self, a: int, b: int, text: str) -> None:
        """A delivery of one queue succeeds."""
        if live := self.live():
            queue = self.model.jobs[live[a % len(live)]].queue
            ids = [id for id in live if self.model.jobs[id].queue == queue][: 1 + b]
            done = self.model.completions + 1
            newest = self.model.completions + len(ids)
            results = [(id, json_of(text)) for id in ids if id % 2]
            forget, forget_results = max(1, newest - self.KEEP + 1), max(1, newest - self.KEEP_RESULTS + 1)
            self.note(Completed(queue, ids, done, self.clock, self.clock - 1, "1.2.x", results, forget, forget_results))

    def do_drop(self, a: int, b: int, text: str) -> None:
        """Jobs leave without completing; completed ones may be purged."""
        ids = sorted(self.model.jobs)
        if ids:
            queue = self.model.jobs[ids[a % len(ids)]].queue
            chosen = [id for id in ids if self.model.jobs[id].queue == queue][: 1 + b]
            self.note(Dropped(queue, chosen, ("cancelled", "expired", "purged")[b % 3]))

    def do_progress(self, a: int, b: int, text: str) -> None:
        """A job reports."""
        if live := self.live():
            self.note(Progressed(live[a % len(live)], b, text or None))

    def do_collect(self, a: int, b: int, text: str) -> None:
        """Children are given a result, or too much of it."""
        want = [id for id in self.live() if (row := self.model.jobs[id]).collect and not row.excess]
        if want and b % 5 == 4:
            self.note(Overfilled(want[a % len(want)], 9_000_000 + b))
        elif want:
            self.note(Collected(self.clock, f'{{"n":"{b}ä"}}'.encode(), want[a % len(want) :][:3]))

    def do_configure(self, a: int, b: int, text: str) -> None:
        """Settings of a queue."""
        self.note(QueueSet("q" + text[:1], bool(a % 2), a, b))

    def do_cron(self, a: int, b: int, text: str) -> None:
        """A schedule is set."""
        row = CronRow(f"c{a % 3}", "q", b'{"t":"\xc3\xa4"}', "@daily", b, "UTC", self.clock, a)
        if b % 2:
            row.timeout, row.ttl, row.backoff, row.max_attempts, row.unique_key = a, None, 0, b, text
            row.tags = [[], None, [text, "red"]][a % 3]
        self.note(CronSet(row))

    def do_happen(self, a: int, b: int, text: str) -> None:
        """Jobs have a history; what it says is of no consequence for them."""
        event, by = ("pushed", "active", "completed", "failed")[b % 4], Actor("ä" + text, text or None, None)
        runs = [a + 1, 1 + b % 3, 2 * a + 5, 1][: 2 + 2 * (a % 2)]
        self.note(Happened(self.clock, event, "q" + text[:1], runs, by, b % 4, text or None, text or None))

    def do_operate(self, a: int, b: int, text: str) -> None:
        """Somebody does something, or the server starts."""
        self.note(Operated(self.clock, ("PAUSE", STARTED)[a % 2], Actor("ä"), text or None, None))

    def do_uncron(self, a: int, b: int, text: str) -> None:
        """A schedule is deleted, or one that is not there."""
        self.note(CronDeleted(f"c{a % 3}"))

    def do_webhook(self, a: int, b: int, text: str) -> None:
        """Somebody wants to be told."""
        row = WebhookRow(f"w{self.clock}", "https://ä/" + text, [[], ["pushed", text]][a % 2], None, None, self.clock)
        if b % 2:
            row.queue, row.secret = "q", text
        self.note(WebhookSet(row))

    def do_unhook(self, a: int, b: int, text: str) -> None:
        """Somebody wants it no more."""
        if webhooks := sorted(self.model.webhooks):
            self.note(WebhookDeleted(webhooks[a % len(webhooks)]))

    def do_owe(self, a: int, b: int, text: str) -> None:
        """Webhooks are to be called."""
        if webhooks := sorted(self.model.webhooks)[: 1 + b]:
            self.note(CallsOwed(self.clock * 100, webhooks, f'{{"text":"{a}ä"}}'.encode()))

    def do_call(self, a: int, b: int, text: str) -> None:
        """They were, or it is given up."""
        if calls := sorted(self.model.calls)[a % 3 :][: 1 + b]:
            self.note(CallsOver(calls))

    def take(self) -> bytes:
        """The records since the last call, as a group."""
        blob = encode(self.turn)
        self.turn = []
        return blob


KINDS = [
    "push",
    "push",
    "add",
    "collect",
    "change",
    "complete",
    "complete",
    "drop",
    "progress",
    "configure",
    "cron",
    "uncron",
    "webhook",
    "unhook",
    "owe",
    "owe",
    "call",
    "happen",
    "happen",
    "operate",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=5)
STEPS = st.tuples(st.sampled_from(KINDS), st.integers(0, 30), st.integers(0, 9), TEXTS)
ENDS = ["commit"] * 4 + ["slice"] * 12 + ["tidy", "crash", "close"]
"""What may happen between steps: a commit, upkeep in part or whole, the process ends one way or the other."""


def long_history(seed: int, length: int) -> list[Step | str]:
    """A long random history; the same for the same seed."""
    random = Random(seed)
    steps: list[Step | str] = []
    for _ in range(length):
        if random.random() < 0.5:
            steps.append(random.choice(ENDS))
        else:
            text = random.choice(["", "a", "b", "ä\0", "'"])
            steps.append((random.choice(KINDS), random.randint(0, 30), random.randint(0, 9), text))
    return steps


class StorageSuite:
    """The suite. A subclass gives `place`; each of its storages must be new and empty."""

    examples: ClassVar[int] = 100

    def place(self) -> AbstractContextManager[Callable[[], Storage]]:
        """Where groups are kept: gives a callable that makes a storage on it, each time another process's."""
        raise NotImplementedError

    def crash(self, storage: Storage) -> None:
        """Take the storage away from under the process."""
        raise NotImplementedError

    @contextmanager
    def opened(self, groups: list[bytes] | None = None) -> Iterator[Storage]:
        """A storage in use, with these groups committed."""
        with self.place() as make:
            storage = make()
            storage.open()
            list(storage.load().rows())
            for number, blob in enumerate(groups or [], 1):
                storage.commit(number, blob)
            yield storage
            storage.close()

    def test_a_new_storage_is_empty(self) -> None:
        """The first id is 1, the first epoch is 1, and there is nothing else."""
        with self.place() as make:
            storage = make()
            assert storage.open() == 0
            snapshot = storage.load()
            assert snapshot.epoch == 1
            assert seen(snapshot) == seen(Model().snapshot())
            storage.close()

    def test_the_epoch_grows_with_every_start(self) -> None:
        """However the process before ended: a token of an earlier start is never issued again."""
        with self.place() as make:
            for epoch in range(1, 5):
                storage = make()
                storage.open()
                snapshot = storage.load()
                assert snapshot.epoch == epoch
                list(snapshot.rows())
                if epoch % 2:
                    storage.close()
                else:
                    self.crash(storage)

    def test_an_epoch_may_be_pushed_up(self) -> None:
        """After a move the epochs go on where those of the storage before ended."""
        with self.place() as make:
            for above, epoch in ((40, 41), (7, 42), (42, 43), (0, 44)):
                storage = make()
                storage.open(above)
                snapshot = storage.load()
                list(snapshot.rows())
                assert snapshot.epoch == epoch
                storage.close()

    @pytest.mark.parametrize("fold", [False, True])
    def test_an_import(self, fold: bool) -> None:
        """Its jobs count nothing until it ends; until then it says how far it is. Then life goes on."""
        row = JobRow(3, "q", WAITING, 0, 5, 5, 0, 0, 3, 0, 0, 0, b"1", tags=["t"], collect=True, inputs=[(1, b"2")])
        done = structs.replace(row, id=5, state=COMPLETED, done=7, done_at=6, result=b"3", collect=False, inputs=None)
        counted = QueueRow("q", True, 4, 0, pushed=9, completed=7, cancelled=1)
        groups = [
            [Imported("x 1", [])],
            [Imported("x 4", [row, done]), CronSet(CronRow("c", "q", b"1", "@daily", 0, "UTC", 5, 0))],
            [ImportEnded(11, 7, [counted, QueueRow("r")], [2, 1])],
            [
                Pushed("q", 11, 8, 0, 3, 0, 0, 0, [b"4"]),
                Dropped("q", [3], "expired"),
                Completed("q", [11], 8, 9, 9, "t", [], 8, 8),
            ],
        ]
        said = ["x 1", "x 4", "", ""]
        with self.place() as make:
            for number, (records, importing) in enumerate(zip(groups, said, strict=True), 1):
                storage = make()
                storage.open()
                list(storage.load().rows())
                storage.commit(number, encode(records))
                while fold and storage.tidy(idle=True):
                    pass
                self.crash(storage)
                storage = make()
                storage.open()
                snapshot = storage.load()
                found = seen(snapshot)
                assert snapshot.importing == importing
                if number == 2:
                    assert [job["id"] for job in found["jobs"]] == [3, 5]
                    assert (found["queues"], found["completions"]) == ([], 0)
                if number == 3:
                    assert found["jobs"] == seen(Snapshot(11, 0, 7, [row, done], [], [], []))["jobs"]
                    assert (found["next_id"], found["completions"], found["dropped"]) == (11, 7, [2, 1])
                    assert found["queues"] == [structs.asdict(counted), structs.asdict(QueueRow("r"))]
                storage.close()
            assert [job["id"] for job in found["jobs"]] == [11]
            assert found["dropped"] == [2, 1, 3]
            (queue, _) = found["queues"]
            assert (queue["pushed"], queue["completed"], queue["expired"], queue["paused"]) == (10, 8, 1, True)

    def test_a_repeated_commit_changes_nothing(self) -> None:
        """A group that is remembered is not applied again, whatever the blob says now."""
        history = History()
        history.step("push", 2, 1, "a")
        first = history.take()
        expected = seen(history.model.snapshot())
        with self.place() as make:
            storage = make()
            storage.open()
            list(storage.load().rows())
            storage.commit(1, first)
            storage.commit(1, first)
            storage.commit(0, encode([CronDeleted("x")]))
            storage.close()
            storage = make()
            assert storage.open() == 1
            assert seen(storage.load()) == expected
            storage.commit(1, first)
            storage.close()

    def test_a_gap_is_refused(self) -> None:
        """A group whose predecessor is missing must not be confirmed."""
        with self.opened([encode([CronDeleted("x")])]) as storage, pytest.raises(StorageError, match="cannot follow"):
            storage.commit(3, encode([CronDeleted("x")]))

    def test_upkeep_of_nothing_has_an_end(self) -> None:
        """An empty storage says that there is nothing to do."""
        with self.opened() as storage:
            assert storage.tidy(idle=False) is False
            assert storage.tidy(idle=True) is False

    def test_every_kind_of_record(self) -> None:
        """Each kind once, alone in its group, folded or not."""
        history, groups = History(), []
        for kind in dict.fromkeys(KINDS):
            history.step("push", 9, 2, "a")
            groups.append(history.take())
            history.step(kind, 1, 2, "ä\0b")
            groups.append(history.take())
        for fold in (False, True):
            with self.place() as make:
                storage = make()
                storage.open()
                list(storage.load().rows())
                for number, blob in enumerate(groups, 1):
                    storage.commit(number, blob)
                    while fold and storage.tidy(idle=True):
                        pass
                self.crash(storage)
                storage = make()
                assert storage.open() == len(groups)
                assert seen(storage.load()) == seen(history.model.snapshot())
                storage.close()

    def test_the_newest_dropped_ids_are_remembered(self) -> None:
        """The bound holds over groups and windows, and the oldest are forgotten first."""
        history, groups = History(), []
        for start in range(0, 60_000, 20_000):
            history.note(Pushed("q", start + 1, 1, 0, 3, 0, 0, 0, [b"1"] * 20_000))
            history.note(Dropped("q", list(range(start + 1, start + 20_001)), "cancelled"))
            groups.append(history.take())
        with self.place() as make:
            storage = make()
            storage.open()
            list(storage.load().rows())
            for number, blob in enumerate(groups, 1):
                storage.commit(number, blob)
                while number != 2 and storage.tidy(idle=True):
                    pass
            self.crash(storage)
            storage = make()
            storage.open()
            snapshot = storage.load()
            assert snapshot.dropped == list(range(10_001, 60_001))
            assert seen(snapshot) == seen(history.model.snapshot())
            storage.close()

    def test_any_history_loads_as_the_model_says(self) -> None:
        """Commits, upkeep, crashes and clean stops in any order: what is loaded is what happened, no more, no less."""
        self.play_any(max(self.examples // 4, 5))

    @pytest.mark.slow
    def test_more_histories_load_as_the_model_says(self) -> None:
        """The same, for as many as find what happens only when several things come together."""
        self.play_any(self.examples)

    def play_any(self, examples: int) -> None:
        """Play so many histories that nobody thought of."""

        @settings(max_examples=examples, deadline=None)
        @given(st.lists(st.one_of(STEPS, STEPS, st.sampled_from(ENDS)), max_size=60))
        def run(steps: list[Step | str]) -> None:
            with self.place() as make:
                self.play(make, steps)

        run()

    @pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(3, 10))])
    def test_a_long_history_loads_as_the_model_says(self, seed: int) -> None:
        """The same over hundreds of steps, where old rows meet new changes."""
        with self.place() as make:
            self.play(make, long_history(seed, 600))

    def play(self, make: Callable[[], Storage], steps: list[Step | str]) -> None:
        """Run a history against a storage and the model, comparing whenever a process starts."""
        history, storage = History(), make()
        number = storage.open()
        list(storage.load().rows())
        for step in [*steps, "commit", "crash"]:
            if isinstance(step, tuple):
                history.step(*step)
            elif step == "slice":
                storage.tidy(idle=True)
            elif step == "tidy":
                while storage.tidy(idle=True):
                    pass
            else:
                if history.turn:
                    number += 1
                    storage.commit(number, history.take())
                    storage.tidy(idle=False)
                asking = len(history.model.trail)
                assert asked(storage, *questions(asking)) == answered(history.model, *questions(asking))
                if step != "commit":
                    storage.close() if step == "close" else self.crash(storage)
                    storage = make()
                    assert storage.open() == number
                    assert seen(storage.load()) == seen(history.model.snapshot())
        storage.close()
