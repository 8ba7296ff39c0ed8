"""Groups fill while one is written, never split a turn, and are told durable in their order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.engine.records import (
    Added,
    CallsOwed,
    Changed,
    Completed,
    CronDeleted,
    CronRow,
    CronSet,
    JobRow,
    Pushed,
    QueueSet,
    Record,
)
from flashq.storage.journal import GROUP_BYTES, GROUP_CHANGES, Journal, payload_bytes
from flashq.storage.records import decode


def pushed(first: int, jobs: int = 1, size: int = 10) -> Record:
    """A batch of jobs."""
    return Pushed("mail", first, 100, 0, 3, 1000, 0, 0, [b"x" * size] * jobs)


def test_a_new_journal_depends_on_nothing() -> None:
    """With nothing appended a reply depends on what is durable already."""
    journal = Journal(5)
    assert (journal.durable, journal.tail, journal.next_group()) == (5, 5, None)


def test_a_turn_without_records_starts_no_group() -> None:
    """A read makes nobody wait for a commit of nothing."""
    journal = Journal(0)
    journal.append([])
    assert (journal.tail, journal.next_group()) == (0, None)


def test_a_group_without_records_can_be_asked_for() -> None:
    """It is one for however many ask before it is written; who asks while it is written waits for another."""
    journal = Journal(0)
    for _ in range(2):
        journal.begin_group()
        assert journal.tail == 1
    found = journal.next_group()
    assert found is not None
    assert (found[0], decode(found[1])) == (1, [])
    journal.begin_group()
    assert (journal.tail, journal.durable, journal.next_group()) == (2, 0, None)
    journal.committed(1)
    journal.append([pushed(1)])
    assert journal.tail == 2


def test_records_gather_while_a_group_is_written() -> None:
    """What comes during a commit goes together into the next one."""
    journal = Journal(0)
    journal.append([pushed(1)])
    first = journal.next_group()
    journal.append([pushed(2)])
    journal.append([pushed(3)])
    assert first is not None
    assert (first[0], journal.tail, journal.next_group()) == (1, 2, None)
    journal.committed(1)
    assert (journal.durable, journal.tail) == (1, 2)
    second = journal.next_group()
    assert second is not None
    assert decode(second[1]) == [pushed(2), pushed(3)]
    assert journal.tail == 2
    journal.committed(2)
    assert (journal.durable, journal.tail) == (2, 2)


@pytest.mark.parametrize("turn", [pushed(1, jobs=GROUP_CHANGES, size=1), pushed(1, jobs=1, size=GROUP_BYTES)])
def test_a_full_group_takes_no_further_turn(turn: Record) -> None:
    """Either bound closes a group; the turn that reached it stays whole."""
    journal = Journal(0)
    journal.append([pushed(1), turn])
    assert journal.tail == 1
    journal.append([pushed(9)])
    assert journal.tail == 2
    first = journal.next_group()
    assert first is not None
    assert decode(first[1]) == [pushed(1), turn]


@pytest.mark.parametrize("number", [0, 2])
def test_a_mixed_up_confirmation_is_refused(number: int) -> None:
    """Confirming a group that is not being written is a bug and shows."""
    journal = Journal(0)
    with pytest.raises(ValueError, match="was not being written"):
        journal.committed(1)
    journal.append([pushed(1)])
    journal.next_group()
    with pytest.raises(ValueError, match="was not being written"):
        journal.committed(number)


def test_unsynced_bytes_follow_the_payloads() -> None:
    """Back-pressure sees what is not safe yet, in flight included, and nothing else."""
    journal = Journal(0)
    journal.append([pushed(1, jobs=10, size=1000)])
    assert 10_000 <= journal.unsynced_bytes < 11_000
    group = journal.next_group()
    assert group is not None
    assert journal.unsynced_bytes >= 10_000
    journal.committed(group[0])
    assert journal.unsynced_bytes == 0


def test_payload_bytes_of_every_kind() -> None:
    """The estimate counts payloads and results, and at least something for everything else."""
    row = JobRow(1, "mail", 2, 0, 100, 200, 0, 0, 3, 1000, 0, 0, b"x" * 500)
    cron = CronRow("nightly", "mail", b"x" * 500, "@daily", 0, "UTC", 1, 0)
    assert payload_bytes(Added(row)) > 500
    assert payload_bytes(CronSet(cron)) > 500
    assert payload_bytes(Completed("mail", [1, 2], 1, 2, 3, "t", [(1, b"x" * 500)], 0, 0)) > 500
    assert payload_bytes(Changed(1, "mail", 1, 2, 3, 4, None, 0, 0, 0)) > 0
    assert payload_bytes(CallsOwed(1, ["w"], b"x" * 500)) > 500
    assert payload_bytes(CronDeleted("nightly")) > 0


@given(st.lists(st.one_of(st.lists(st.integers(1, 5000), max_size=3), st.just("write"), st.just("done"))))
def test_nothing_is_lost_split_or_reordered(steps: list[list[int] | str]) -> None:
    """Whatever the order of appending, writing and confirming: the groups hold all turns in order, numbered densely."""
    journal, written, turns, in_flight = Journal(0), [], [], None
    tails: list[int] = []
    for step in steps:
        if step == "write":
            group = journal.next_group()
            if group is not None:
                assert in_flight is None
                in_flight = group[0]
                written.append(group)
        elif step == "done":
            if in_flight is not None:
                journal.committed(in_flight)
                assert journal.durable == in_flight
                in_flight = None
        else:
            turn: list[Record] = [QueueSet(str(len(turns)), False, jobs, 0) for jobs in step]
            turn += [pushed(1, jobs, size=1) for jobs in step]
            journal.append(turn)
            if turn:
                turns.append(turn)
                tails.append(journal.tail)
    if in_flight is not None:
        journal.committed(in_flight)
    while (group := journal.next_group()) is not None:
        written.append(group)
        journal.committed(group[0])
    assert [number for number, _ in written] == list(range(1, len(written) + 1))
    assert [record for _, blob in written for record in decode(blob)] == [record for turn in turns for record in turn]
    assert journal.durable == journal.tail == len(written)
    ends, total = {0: 0}, 0
    for number, blob in written:
        total += len(decode(blob))
        ends[number] = total
    seen = 0
    for turn, tail in zip(turns, tails, strict=True):
        assert ends[tail - 1] <= seen
        seen += len(turn)
        assert seen <= ends[tail]
    assert journal.unsynced_bytes == 0
