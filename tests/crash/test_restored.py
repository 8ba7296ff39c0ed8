"""The judge of backups: it finds each fault that a backup may have, and nothing wrong with a good one."""

from typing import Final

import pytest
from tests.crash.history import Ack, History, Push
from tests.crash.restored import Restored, faults

PUSHES: Final = [Push(f"u{id}", began=id, id=id, ended=id + 0.5) for id in range(1, 9)]
"""Eight jobs, pushed one after the other."""

ACKS: Final = [Ack(id, "t", began=10 + id, outcome="ok", ended=10.5 + id) for id in range(1, 6)]
"""Five of them, completed one after the other."""

ASKED, ANSWERED = 12.7, 14.2
"""While the third is confirmed and the fourth under way."""


def judged(live: list[tuple[str, int]], next_id: int = 9) -> list[str]:
    """What is found wrong with a backup that holds these."""
    clients = [History(pushes=PUSHES[:4]), History(pushes=PUSHES[4:]), History(acks=ACKS)]
    return faults(Restored(ASKED, ANSWERED, live, next_id), clients)


def jobs(first: int, last: int = 8) -> list[tuple[str, int]]:
    """Live jobs from ``first`` to ``last``."""
    return [(f"u{id}", id) for id in range(first, last + 1)]


@pytest.mark.parametrize("first", [3, 4, 5])
def test_a_good_one(first: int) -> None:
    """Two were completed before the question; the third and the fourth may be."""
    assert judged(jobs(first)) == []


@pytest.mark.parametrize(
    ("live", "next_id", "said"),
    [
        (jobs(3, 7), 9, "u8 (job 8) is gone"),
        (jobs(3, 7), 8, "u8 (job 8) was confirmed before the backup was asked for, which ends before it"),
        (jobs(6), 9, "u5 (job 5) is gone"),
        (jobs(2), 9, "the completion of job 2 was confirmed before the backup was asked for, and is not in it"),
        ([*jobs(3, 3), *jobs(5)], 9, "the completion of job 4 is in it, and that of job 3 before it is not"),
        ([*jobs(3), ("u9", 9)], 10, "u9 is there, and nobody had pushed it"),
        ([*jobs(3), ("u3", 3)], 9, "u3 is there 2 times"),
        ([("u3", 4), ("u4", 3), *jobs(5)], 9, "u3 is job 4, and was job 3"),
    ],
)
def test_each_fault(live: list[tuple[str, int]], next_id: int, said: str) -> None:
    """It is told by name."""
    found = judged(live, next_id)
    assert any(fault.startswith(said) for fault in found), found


def test_what_is_pushed_later_is_not_in_it() -> None:
    """A job of a push that began after the answer came from nowhere."""
    later = Push("late", began=ANSWERED + 1, id=9, ended=ANSWERED + 2)
    clients = [History(pushes=[*PUSHES, later]), History(acks=ACKS)]
    assert faults(Restored(ASKED, ANSWERED, jobs(3), 9), clients) == []
    found = faults(Restored(ASKED, ANSWERED, [*jobs(3), ("late", 9)], 10), clients)
    assert found == ["late is there, and nobody had pushed it"]
