"""The doctor finds nothing in what is sound, and says what is wrong with what is not."""

from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.fakes.kept import busy_life, keep
from tests.unit.engine.bench import START, Bench
from tests.unit.engine.stories import SMALL, STORIES, TELL, Step, Teller

from flashq.engine.records import CallRow, JobRow, Snapshot
from flashq.errors import StorageError
from flashq.model import COMPLETED, WAITING, WAITING_CHILDREN
from flashq.server.doctor import Finding, examine
from flashq.storage import checksums
from flashq.storage.reading import Check, Reading, StorageInUse, StorageMissing
from flashq.storage.sqlite_reading import SqliteSource


class Given:
    """A storage that has a snapshot, and whose checks end as is wished."""

    def __init__(self, snapshot: Snapshot, *checks: Check) -> None:
        self._snapshot = snapshot
        self._checks = checks

    def checks(self) -> Sequence[Check]:
        """What was given."""
        return self._checks

    def snapshot(self) -> Snapshot:
        """What was given."""
        return self._snapshot

    def close(self) -> None:
        """There is nothing to let go of."""


def life() -> Snapshot:
    """Something of everything."""
    return busy_life().memory.snapshot(2)


def findings(snapshot: Snapshot, *checks: Check) -> list[Finding]:
    """All of them."""
    return list(examine(Given(snapshot, *checks), START))


def wrong(snapshot: Snapshot, *checks: Check) -> list[str]:
    """What is wrong, with the check before it."""
    return [f"{finding.check}: {finding.detail}" for finding in findings(snapshot, *checks) if not finding.ok]


@pytest.mark.parametrize("folded", [0, 60, 10_000])
def test_a_sound_database(tmp_path: Path, folded: int) -> None:
    """All checks pass, wherever the rows are, and each says what it has seen."""
    log = busy_life().memory.log
    keep(tmp_path / "flashq.db", log, folded=min(folded, len(log)))
    reading = Reading(SqliteSource(tmp_path / "flashq.db"))
    found = list(examine(reading, START))
    reading.close()
    assert [finding for finding in found if not finding.ok] == []
    names = ["file", "pages", "schema", "journal", "high water", "rows", "webhooks", "jobs", "state"]
    assert [finding.check for finding in found] == names
    assert all(finding.detail for finding in found)


@TELL
@given(STORIES)
def test_no_story_leads_to_damage(story: list[Step]) -> None:
    """Whatever clients do, what is remembered of it is sound."""
    bench = Bench(**SMALL)
    teller = Teller(bench)
    for step in story:
        teller.tell(step)
    assert wrong(bench.memory.snapshot(2)) == []


def _job(snapshot: Snapshot, state: int) -> JobRow:
    return next(row for row in snapshot.jobs if isinstance(row, JobRow) and row.state == state)


def _owe_a_stranger(snapshot: Snapshot) -> None:
    snapshot.calls.append(CallRow(2**60, "gone", b"{}"))


def _spoil_a_payload(snapshot: Snapshot) -> None:
    _job(snapshot, WAITING).data = b'{"half'


def _spoil_a_result(snapshot: Snapshot) -> None:
    _job(snapshot, COMPLETED).result = b"\xff"


def _reuse_an_id(snapshot: Snapshot) -> None:
    snapshot.next_id -= 1


def _miscount(snapshot: Snapshot) -> None:
    snapshot.queues[0].pushed += 1


def _forget_a_job(snapshot: Snapshot) -> None:
    jobs = list(snapshot.rows())
    snapshot.jobs = [row for row in jobs if row.id != _job(snapshot, WAITING).id]


def _complete_too_much(snapshot: Snapshot) -> None:
    snapshot.completions -= 1


def _complete_twice(snapshot: Snapshot) -> None:
    first, second = [row for row in snapshot.rows() if row.state == COMPLETED][:2]
    second.done = first.done


def _share_a_key(snapshot: Snapshot) -> None:
    keyed = next(row for row in snapshot.rows() if row.unique_key)
    _job(snapshot, WAITING).unique_key = keyed.unique_key


def _share_an_id(snapshot: Snapshot) -> None:
    named = next(row for row in snapshot.rows() if row.custom_id)
    _job(snapshot, WAITING).custom_id = named.custom_id


def _wait_for_nobody(snapshot: Snapshot) -> None:
    _job(snapshot, WAITING_CHILDREN).depends_on = [1]


def _take_inputs_of_strangers(snapshot: Snapshot) -> None:
    _job(snapshot, WAITING_CHILDREN).inputs = [(1, b"1")]


def _unknown_state(snapshot: Snapshot) -> None:
    _job(snapshot, WAITING).state = 77


DAMAGES: dict[str, tuple[Callable[[Snapshot], None], str]] = {
    "calls without a webhook": (_owe_a_stranger, "webhooks: calls are owed to 1 webhooks"),
    "a payload": (_spoil_a_payload, "jobs: payloads or results of 1 jobs are not JSON"),
    "a result": (_spoil_a_result, "jobs: payloads or results of 1 jobs are not JSON"),
    "an id that would be given again": (_reuse_an_id, "jobs: the next id is"),
    "a counter": (_miscount, "state: emails: "),
    "a lost job": (_forget_a_job, "state: emails: "),
    "a completion that was not counted": (_complete_too_much, "jobs: "),
    "a completion that was counted twice": (_complete_twice, "jobs: completed jobs share the number"),
    "a key of two jobs": (_share_a_key, "jobs: 1 unique keys have more than one job"),
    "an id of two jobs": (_share_an_id, "jobs: clients' own ids have more than one job"),
    "a child of parents that are over": (_wait_for_nobody, "state: "),
    "inputs of others": (_take_inputs_of_strangers, "state: "),
    "a state that is none": (_unknown_state, "jobs: no queue can be made of them"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found(damage: str) -> None:
    """Each rule that rows can break has a check that notices."""
    spoil, sentence = DAMAGES[damage]
    snapshot = life()
    spoil(snapshot)
    assert any(one.startswith(sentence) for one in wrong(snapshot)), wrong(snapshot)


def test_all_that_is_wrong_is_told() -> None:
    """One fault does not hide another."""
    snapshot = life()
    _owe_a_stranger(snapshot)
    _spoil_a_payload(snapshot)
    _miscount(snapshot)
    assert {one.split(":")[0] for one in wrong(snapshot)} == {"webhooks", "jobs", "state"}


def _fail(error: StorageError) -> Callable[[], str]:
    def check() -> str:
        raise error

    return check


def test_a_failed_check_of_the_disk_is_the_last() -> None:
    """What comes after it would only say the same in other words, or break."""
    checks = [("file", lambda: "fine"), ("pages", _fail(StorageError("torn"))), ("schema", lambda: "fine")]
    assert findings(life(), *checks) == [Finding("file", True, "fine"), Finding("pages", False, "torn")]


@pytest.mark.parametrize("error", [StorageInUse("x"), StorageMissing("x")])
def test_what_cannot_be_looked_at_is_not_damaged(error: StorageError) -> None:
    """Whoever asks must not take a busy storage for a broken one."""
    with pytest.raises(type(error)):
        findings(life(), ("file", _fail(error)))


def test_a_page_that_cannot_be_read_on_the_way(tmp_path: Path) -> None:
    """Damage that no check of the disk has met is met when jobs are read."""
    path = tmp_path / "flashq.db"
    log = busy_life().memory.log
    keep(path, log, folded=len(log))
    connection = apsw.Connection(str(path), vfs=checksums.vfs())
    connection.execute("UPDATE jobs SET tags = 'red' WHERE id = (SELECT max(id) FROM jobs)")
    connection.close()
    reading = Reading(SqliteSource(path))
    last = list(examine(reading, START))[-1]
    reading.close()
    assert not last.ok
    assert "damaged" in last.detail


@given(st.sampled_from(["queue", "state", "run_at", "depends_on", "done"]), st.integers(0, 60))
def test_a_row_that_makes_no_sense_never_breaks_the_doctor(member: str, place: int) -> None:
    """It is there to tell of damage, so whatever it meets, it tells."""
    snapshot = life()
    rows = list(snapshot.rows())
    row = rows[place % len(rows)]
    odd = {"queue": "elsewhere", "state": 99, "run_at": -1, "depends_on": [row.id], "done": 10**9}[member]
    rows[place % len(rows)] = structs.replace(row, **{member: odd})
    snapshot.jobs = rows
    assert all(finding.check in ("webhooks", "jobs", "state") for finding in findings(snapshot))


def test_half_an_import_is_damage() -> None:
    """What is not all is told as that, rather than as counters that do not add up."""
    snapshot = life()
    snapshot.importing = "x 5"
    assert wrong(snapshot) == [
        "import: an import was broken off, so not all is there: run it again with the same export"
    ]
