"""A window adds up: what ends in it vanishes, what lives on is one row, what is older is a change by value."""

import gc
import weakref

import pytest
from msgspec import structs

from flashq.engine.records import (
    Actor,
    Added,
    CallRow,
    CallsOver,
    CallsOwed,
    Changed,
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
    Progressed,
    Pushed,
    QueueRow,
    QueueSet,
    Record,
    Snapshot,
    WebhookDeleted,
    WebhookRow,
    WebhookSet,
    rows_of,
)
from flashq.errors import StorageError
from flashq.model import COMPLETED, DELAYED, FAILED, WAITING
from flashq.storage import fold as fold_module
from flashq.storage.fold import Finish, Fold

CRON = CronRow("nightly", "mail", b"{}", "@daily", 0, "UTC", 1000, 0)


def rows(fold: Fold) -> list[JobRow]:
    """What is left of the jobs born in the window, each as a row."""
    return [job for birth in fold.born() for job in (rows_of(birth) if isinstance(birth, Pushed) else [birth])]


def batch(first: int, jobs: int) -> Pushed:
    """Plain jobs with ids from ``first`` on."""
    return Pushed("mail", first, 100, 5, 3, 1000, 60, 70, [b"%d" % id for id in range(first, first + jobs)])


def row(id: int, state: int = WAITING) -> JobRow:
    """A job as a row."""
    return JobRow(id, "mail", state, 5, 100, 100, 0, 0, 3, 1000, 60, 70, b"%d" % id)


def completed(ids: list[int], done: int = 1, forget: int = 0, forget_results: int = 0, **more: object) -> Completed:
    """A delivery that succeeded."""
    results = [(id, b'"r%d"' % id) for id in ids]
    return Completed("mail", ids, done, 400, 300, "token", results, forget, forget_results)


def changed(id: int, state: int = DELAYED, message: str | None = "boom") -> Changed:
    """A job that waits for a retry."""
    return Changed(id, "mail", state, 500, 300, 1, message, 7, 8, 2)


def settled(*records: Record, next_id: int = 1) -> Fold:
    """A fold of one group."""
    fold = Fold(next_id)
    fold.feed(records)
    fold.settle()
    return fold


def base(**members: object) -> Snapshot:
    """What was there before."""
    return Snapshot(**{"next_id": 1, "epoch": 3, "completions": 0, "jobs": [], "queues": [], "crons": [],
                       "dropped": [], **members})  # type: ignore[arg-type]  # fmt: skip


def test_a_batch_becomes_rows_with_shared_options() -> None:
    """A plain job is its batch's options, its own id and payload, and nothing else."""
    assert list(rows(settled(batch(1, 2)))) == [row(1), row(2)] == rows_of(batch(1, 2))


def test_an_untouched_batch_stays_a_batch() -> None:
    """So that it can be stored by one statement that binds what is shared once."""
    assert list(settled(batch(1, 100)).born()) == [batch(1, 100)]


def test_a_short_batch_is_given_as_rows() -> None:
    """A statement for each lone push would cost more than it saves."""
    assert list(settled(batch(1, 1), batch(2, 1)).born()) == [row(1), row(2)]


def test_a_touched_batch_falls_into_stretches() -> None:
    """What is left around an ended job is still stored as batches, where long enough."""
    born = list(settled(batch(1, 100), completed([50], forget=2), changed(90)).born())
    assert [birth for birth in born if isinstance(birth, Pushed)] == [batch(1, 49), batch(51, 39)]
    assert [birth.id for birth in born if isinstance(birth, JobRow)] == list(range(90, 101))
    assert next(birth.state for birth in born if isinstance(birth, JobRow)) == DELAYED


def test_what_comes_and_goes_leaves_nothing() -> None:
    """A job pushed, completed and forgotten inside the window is no row, and no deletion either."""
    fold = settled(batch(1, 100), completed(list(range(1, 101)), forget=101))
    assert (list(fold.born()), fold.ended()) == ([], [])


def test_completed_jobs_that_are_remembered_are_rows() -> None:
    """Of a delivery only the part that is not forgotten is kept, and results of still fewer."""
    fold = settled(batch(1, 4), completed([1, 2, 3, 4], done=10, forget=12, forget_results=13))
    assert [(job.id, job.state, job.done, job.result) for job in rows(fold)] == [
        (3, COMPLETED, 12, None),
        (4, COMPLETED, 13, b'"r4"'),
    ]
    last = list(rows(fold))[-1]
    assert (last.started_at, last.done_at, last.token) == (300, 400, "token")


def test_what_a_later_group_forgets_is_not_written() -> None:
    """Storage may know from a newer group that a completion will be forgotten."""
    fold = Fold()
    fold.feed([batch(1, 3), completed([1, 2, 3])])
    fold.settle(3, 4)
    assert [(job.id, job.result) for job in rows(fold)] == [(3, None)]
    assert (fold.forget, fold.forget_results) == (3, 4)


def test_an_added_job_takes_its_changes() -> None:
    """The row has the newest of everything; the record that was fed is not altered."""
    added = Added(row(1, DELAYED))
    fold = settled(
        added,
        Added(row(2)),
        Added(row(3)),
        changed(1, WAITING),
        Progressed(1, 40, "on"),
        Dropped("mail", [2], "expired"),
    )
    after = list(rows(fold))
    assert [job.id for job in after] == [1, 3]
    assert (after[0].state, after[0].run_at, after[0].started_at, after[0].attempts) == (WAITING, 500, 300, 1)
    assert (after[0].fence_epoch, after[0].fence_serial, after[0].returns) == (7, 8, 2)
    assert (after[0].progress, after[0].message) == (40, "on")
    assert after[1] == row(3)
    assert added.row == row(1, DELAYED)


def test_the_newer_message_wins() -> None:
    """Progress and failure share one column."""
    assert rows(settled(batch(1, 1), Progressed(1, 40, "on"), changed(1)))[0].message == "boom"
    assert rows(settled(batch(1, 1), changed(1), Progressed(1, 40, None)))[0].message is None
    assert rows(settled(batch(1, 1), Progressed(1, 40, "on"), changed(1)))[0].progress == 40


def test_rows_come_in_the_order_of_ids() -> None:
    """Also when batches of several queues were noted out of order."""
    assert [job.id for job in rows(settled(batch(4, 2), Added(row(3)), batch(1, 2)))] == [1, 2, 3, 4, 5]


def test_older_jobs_get_changes_by_value() -> None:
    """Of a job with a row already only what happened is told, ascending, and only if it lives on."""
    fold = settled(
        changed(9), changed(4), changed(5), Progressed(5, 10, "x"), Progressed(3, 20, "y"),
        completed([7, 6], done=1), Dropped("mail", [9, 2], "purged"), batch(10, 1), changed(10), next_id=10,
    )  # fmt: skip
    assert fold.changed() == [changed(4), changed(5)]
    assert fold.progressed() == [Progressed(3, 20, "y"), Progressed(5, 10, "x")]
    assert fold.finished() == [
        Finish(6, 300, 2, 400, "token", b'"r6"'),
        Finish(7, 300, 1, 400, "token", b'"r7"'),
    ]
    assert fold.ended() == [2, 9]
    assert [job.id for job in rows(fold)] == [10]


def test_a_completed_job_that_is_purged_is_gone() -> None:
    """The one thing that may happen to an ended job."""
    fold = settled(batch(5, 1), completed([5, 4]), Dropped("mail", [5, 4], "purged"), next_id=5)
    assert (list(rows(fold)), fold.finished(), fold.ended()) == ([], [], [4])


def test_counters_and_marks() -> None:
    """Every way into and out of a queue is counted once; the marks only grow."""
    fold = settled(
        batch(1, 5), Added(row(6, FAILED)), Added(row(7)), changed(1), changed(2, FAILED),
        completed([3, 4], done=8, forget=2),
        Dropped("mail", [1], "cancelled"), Dropped("mail", [2, 6], "purged"), Dropped("mail", [5], "expired"),
        QueueSet("mail", True, 10, 20), QueueSet("idle", False, 0, 1),
    )  # fmt: skip
    assert fold.queues == {
        "mail": QueueRow("mail", True, 10, 20, 7, 2, 2, 1, 1, 2),
        "idle": QueueRow("idle", False, 0, 1),
    }
    assert fold.configured == {"mail", "idle"}
    assert (fold.next_id, fold.completions, fold.forget, fold.dropped) == (8, 9, 2, [1, 2, 6, 5])


def test_the_newest_dropped_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound holds for the window, and for the window together with what was there."""
    monkeypatch.setattr(fold_module, "KEEP_DROPPED", 3)
    assert settled(Dropped("mail", [1, 2, 3, 4], "expired")).dropped == [2, 3, 4]
    assert settled(Dropped("mail", [3, 4], "expired")).over(base(dropped=[1, 2])).dropped == [2, 3, 4]


def test_an_unknown_reason_is_refused() -> None:
    """A newer program's reason must not be counted as something else."""
    with pytest.raises(StorageError, match="'vanished'"):
        settled(Dropped("mail", [1], "vanished"))


def test_over_lays_everything_over_the_base() -> None:
    """Rows, settings, counters, schedules and marks of the window over those that were there."""
    fold = settled(
        batch(4, 1), changed(1), Dropped("mail", [2], "expired"), QueueSet("mail", True, 1, 2), batch(5, 1),
        CronSet(CRON), CronDeleted("hourly"), CronDeleted("never"), Pushed("idle", 6, 1, 0, 0, 0, 0, 0, [b"6"]),
        next_id=4,
    )  # fmt: skip
    before = base(
        next_id=4,
        completions=9,
        jobs=[row(1), row(2), row(3)],
        queues=[QueueRow("mail", False, 9, 9, 1, 2, 3, 4, 5, 6), QueueRow("idle", True, 4), QueueRow("other")],
        crons=[CronRow("hourly", "q", b"", "", 0, "UTC", 0, 0), CronRow("weekly", "q", b"", "", 0, "UTC", 0, 0)],
    )
    after = fold.over(before)
    assert [(job.id, job.state) for job in after.rows()] == [
        (1, DELAYED),
        (3, WAITING),
        (4, WAITING),
        (5, WAITING),
        (6, WAITING),
    ]
    assert after.queues == [
        QueueRow("idle", True, 4, 0, 1),
        QueueRow("mail", True, 1, 2, 3, 2, 3, 4, 6, 6),
        QueueRow("other"),
    ]
    assert [cron.name for cron in after.crons] == ["nightly", "weekly"]
    assert (after.next_id, after.epoch, after.completions, after.dropped) == (7, 3, 9, [2])


def test_over_lays_webhooks_and_calls_over_the_base() -> None:
    """What is over is not owed, nor what belongs to a webhook that is gone; a call that is there is one call."""
    one, two, new = (WebhookRow(id, "https://example.org/", [], None, None, 1) for id in ("one", "two", "new"))
    fold = settled(
        WebhookSet(new), CallsOwed(10, ["one", "two", "new"], b"{}"), CallsOwed(13, ["two", "new"], b"[]"),
        CallsOver([1, 12]), WebhookDeleted("two"),
    )  # fmt: skip
    owed = [CallRow(1, "one", b"1"), CallRow(2, "two", b"2"), CallRow(3, "one", b"3"), CallRow(10, "one", b"{}")]
    after = fold.over(base(webhooks=[one, two], calls=owed))
    assert after.webhooks == [new, one]
    assert after.calls == [CallRow(3, "one", b"3"), CallRow(10, "one", b"{}"), CallRow(14, "new", b"[]")]


def test_a_batch_for_an_id_that_is_no_more() -> None:
    """An added job that was dropped or forgotten is not given."""
    assert list(rows(settled(Added(row(1)), Added(row(2)), Dropped("mail", [1], "expired")))) == [row(2)]


def test_over_forgets_older_completions() -> None:
    """Also those that no record of the window names."""
    old = [row(1, COMPLETED), row(2, COMPLETED), row(3, COMPLETED)]
    for done, job in enumerate(old, 1):
        job.done, job.result = done, b"1"
    after = settled(completed([4], done=4, forget=2, forget_results=3), next_id=5).over(base(next_id=5, jobs=old))
    assert [(job.id, job.result) for job in after.rows()] == [(2, None), (3, b"1")]
    assert old[1].result == b"1"


def test_over_leaves_the_base_alone_when_nothing_older_is_touched() -> None:
    """A recovery of nothing but births hands the base's rows through."""
    jobs = [row(1)]
    after = settled(batch(2, 1), next_id=2).over(base(next_id=2, jobs=jobs))
    assert list(after.rows()) == [row(1), row(2)]


def test_the_trail_is_kept_as_it_is() -> None:
    """In its order, and without a job or a queue coming into being by it."""
    pushed, start = Happened(1, "pushed", "q", [1, 2], Actor("ada")), Operated(2, "START", Actor("server"))
    fold = Fold()
    fold.feed([pushed, start])
    fold.feed([pushed])
    fold.settle()
    assert fold.audit == [pushed, start, pushed]
    assert (fold.queues, fold.next_id, list(fold.born())) == ({}, 1, [])


def test_an_import_counts_by_what_it_says_at_its_end() -> None:
    """Its jobs are rows and nothing else; the counters, and what was dropped, come with the end, settings included."""
    fold = Fold()
    fold.feed([Imported("x 1", [row(3), row(7)])])
    assert (fold.importing, fold.next_id, fold.queues) == ("x 1", 8, {})
    fold.feed([ImportEnded(20, 9, [QueueRow("mail", True, 5, 2, pushed=8, completed=6)], [4, 5])])
    fold.feed([batch(20, 1)])
    fold.settle()
    assert (fold.importing, fold.next_id, fold.completions, fold.dropped) == ("", 21, 9, [4, 5])
    assert fold.queues == {"mail": QueueRow("mail", True, 5, 2, pushed=9, completed=6)}
    assert [job.id for job in rows(fold)] == [3, 7, 20]


def test_what_was_imported_is_forgotten_in_its_turn() -> None:
    """A completed job that came by an import, and what it returned, as those that completed here."""
    done = [structs.replace(row(id, COMPLETED), done=id, result=b"1") for id in (1, 2, 3)]
    fold = Fold()
    fold.feed([Imported("x 1", done), batch(4, 1), completed([4], done=4, forget=2, forget_results=3)])
    fold.settle()
    assert [(job.id, job.result) for job in rows(fold) if job.id < 4] == [(2, None), (3, b"1")]


def test_a_broken_off_import_is_remembered() -> None:
    """A window without a word of it leaves what was said before."""
    base = Snapshot(1, 1, 0, [], [], [], [], importing="x 5")
    fold = Fold()
    fold.settle()
    assert fold.over(base).importing == "x 5"


def test_it_is_freed_without_the_collector() -> None:
    """It holds the payloads of a window, and in a server the collector comes late."""
    gc.collect()
    gc.disable()
    try:
        fold = Fold()
        fold.feed([batch(1, 3), Added(row(4)), completed([1, 4])])
        fold.settle()
        gone = weakref.ref(fold)
        del fold
        assert gone() is None
    finally:
        gc.enable()
