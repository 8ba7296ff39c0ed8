"""Windows take the journal in order and in bounds, whatever keeps it; the tests of each backend's upkeep go on."""

from collections.abc import Iterable, Iterator

import pytest

from flashq.engine.records import Actor, Operated, Pushed
from flashq.engine.trail import Numbered, Operations, Question
from flashq.errors import StorageError
from flashq.storage import windows
from flashq.storage.fold import Fold
from flashq.storage.records import encode
from flashq.storage.rows import Meta
from flashq.storage.windows import TRIM_MS, Retention, Windows


class Tables:
    """A journal in a dict; notes what is folded into it and let go of."""

    def __init__(self, groups: int = 0, jobs: int = 10) -> None:
        self.meta = Meta(1, 0, 1, 0, 0, 0, 0, 0)
        self.journal: dict[int, bytes] = {}
        self.applied: list[tuple[int, int]] = []
        self.trimmed: list[tuple[int, int]] = []
        for number in range(1, groups + 1):
            self.append(number, jobs)

    def append(self, number: int, jobs: int = 10) -> bytes:
        """A group with a batch."""
        self.journal[number] = encode([Pushed("q", (number - 1) * jobs + 1, 1, 0, 3, 0, 0, 0, [b"1"] * jobs)])
        return self.journal[number]

    def newest(self) -> int:
        """See `tables.Tables`."""
        return max(self.journal, default=self.meta.folded)

    def groups(self, after: int) -> Iterator[tuple[int, bytes]]:
        """See `tables.Tables`."""
        yield from ((number, blob) for number, blob in sorted(self.journal.items()) if number > after)

    def group(self, number: int) -> bytes:
        """See `tables.Tables`."""
        return self.journal[number]

    def apply(self, fold: Fold, last: int) -> Iterator[None]:
        """See `tables.Tables`."""
        yield
        self.applied.append((last, fold.next_id))
        self.meta.folded, self.meta.next_id = last, fold.next_id
        self.journal = {number: blob for number, blob in self.journal.items() if number > last}

    def trim(self, since: int, max_rows: int) -> Iterator[None]:
        """See `tables.Tables`."""
        yield
        self.trimmed.append((since, max_rows))

    def trail(self, question: Question) -> Iterable[Numbered]:
        """See `tables.Tables`."""
        return [(1, Operated(1, "PAUSE", Actor("ada")))]


def folded(journal: Windows) -> int:
    """Fold everything; how many slices it took."""
    slices = 0
    while not journal.folded:
        journal.fold_slice()
        slices += 1
    return slices


def test_the_tail_is_read_and_left_alone() -> None:
    """All groups that are not in the tables add up, and are folded later."""
    tables = Tables(groups=3)
    journal = Windows("here", tables)
    assert journal.fold_tail().next_id == 31
    assert (journal.newest, journal.folded, len(tables.journal)) == (3, False, 3)


@pytest.mark.parametrize("missing", [1, 2])
def test_a_missing_group_is_named(missing: int) -> None:
    """Neither a hole nor a missing beginning is passed over."""
    tables = Tables(groups=3)
    del tables.journal[missing]
    with pytest.raises(StorageError, match=f"^here: group {missing} is missing from the journal$"):
        Windows("here", tables).fold_tail()


def test_a_missing_end_is_named() -> None:
    """A journal that is read only in part must not pass for a shorter one."""
    tables = Tables(groups=3)
    journal = Windows("here", tables)
    del tables.journal[3]
    with pytest.raises(StorageError, match="group 3 is missing"):
        journal.fold_tail()


@pytest.mark.parametrize(("bound", "value"), [("WINDOW_CHANGES", 20), ("WINDOW_BYTES", 70), ("WINDOW_GROUPS", 2)])
def test_a_window_has_bounds(monkeypatch: pytest.MonkeyPatch, bound: str, value: int) -> None:
    """By changes, by bytes and by groups, whichever comes first."""
    monkeypatch.setattr(windows, bound, value)
    tables = Tables(groups=5)
    folded(Windows("here", tables))
    assert tables.applied == [(2, 21), (4, 41), (5, 51)]


def test_slices_are_due_in_step_with_commits(monkeypatch: pytest.MonkeyPatch) -> None:
    """None below the bound, one for so many changes above it, more when the journal is far too long."""
    monkeypatch.setattr(windows, "UNFOLDED_CHANGES", 20)
    monkeypatch.setattr(windows, "EASY_PACE", 10)
    monkeypatch.setattr(windows, "HARD_PACE", 5)
    tables = Tables()
    journal = Windows("here", tables)
    due = []
    for number in range(1, 10):
        journal.committed(number, tables.append(number))
        due.append(0)
        while journal.due():
            due[-1] += 1
    assert due == [0, 1, 1, 1, 1, 1, 1, 2, 2]
    folded(journal)
    assert not journal.due()


def test_the_trail_is_trimmed_behind_a_window() -> None:
    """By what the clock says then; without a retention everything is kept."""
    tables = Tables(groups=1)
    folded(Windows("here", tables, Retention(1_000, 7, lambda: 5_000)))
    assert tables.trimmed == [(4_000, 7)]
    tables = Tables(groups=1)
    folded(Windows("here", tables))
    assert tables.trimmed == []


def test_the_trail_is_trimmed_though_nothing_happens() -> None:
    """Some time after it was, in slices of its own; also when the clock was set back; without a retention never."""
    now = [5_000]
    tables = Tables(groups=1)
    journal = Windows("here", tables, Retention(1_000, 7, lambda: now[0]))
    folded(journal)
    now[0] += TRIM_MS - 1
    assert journal.folded
    now[0] += 1
    assert not journal.folded
    assert folded(journal) == 2
    assert tables.trimmed == [(4_000, 7), (4_000 + TRIM_MS, 7)]
    now[0] -= TRIM_MS
    assert folded(journal) == 2
    assert len(tables.trimmed) == 3
    assert Windows("here", Tables()).folded


def test_a_question_is_fed_what_was_there_when_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """First the tables, then the journal in slices; what is committed meanwhile is not seen."""
    monkeypatch.setattr(windows, "FEED_CHANGES", 1)
    tables = Tables()
    journal = Windows("here", tables)
    for number in (1, 2):
        tables.journal[number] = encode([Operated(number, f"DO{number}", Actor("ada"))])
        journal.committed(number, tables.journal[number])
    question = Operations(0, 10, 0)
    reading = journal.read(question)
    next(reading)
    tables.journal[3] = encode([Operated(3, "DO3", Actor("ada"))])
    journal.committed(3, tables.journal[3])
    assert len(list(reading)) == 1
    assert [action.action for action in question.answer()[0]] == ["DO2", "DO1", "PAUSE"]
