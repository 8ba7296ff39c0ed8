"""Whether tasks may run twice: the guilty are found, each by the schedule that shows it, and the others pass."""

import re
import sys
from typing import Any

import pytest
from tests.unit.testing import ledger

from flashq.testing import ChaosReport, chaos


def played(task: Any, *args: Any, **options: Any) -> ChaosReport:
    """The report on a task of the bank."""
    return chaos(task, *args, effects=ledger.effects, reset=ledger.reset, **options)


@pytest.mark.parametrize(
    ("task", "args"),
    [
        (ledger.inserts, ("p1", 5)),
        (ledger.sets, ("ada", 5)),
        (ledger.enqueues_once, ("ada",)),
        (ledger.waits_and_sets, ("ada",)),
        (ledger.retries, ()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_tasks_that_may_run_twice_pass(task: Any, args: tuple[Any, ...]) -> None:
    """Nothing is said against a task that leaves the same under every schedule."""
    report = played(task, *args)
    assert report.ok, report
    assert len(report.schedules) >= 3
    assert str(report).endswith(f"is idempotent under all {len(report.schedules)} schedules")


@pytest.mark.parametrize(
    ("task", "args", "found", "clean"),
    [
        (ledger.appends, ("ada", 5), ["run twice", "overtaken at its end"], ["killed at ledger.py"]),
        (ledger.checks_and_marks_late, ("p1", 5), ["killed at ledger.py"], ["run twice", "overtaken"]),
        (ledger.marks_early, ("p1", 5), ["killed at ledger.py"], ["run twice", "overtaken"]),
        (ledger.enqueues, ("ada",), ["run twice", "overtaken at its end"], []),
        (ledger.waits_then_appends, ("ada",), ["overtaken at ledger.py"], ["run twice", "killed"]),
        (ledger.locks, ("ada",), ["killed at ledger.py", "overtaken at ledger.py"], ["run twice"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_tasks_that_may_not_are_found(task: Any, args: tuple[Any, ...], found: list[str], clean: list[str]) -> None:
    """Each by the schedules that show it, and by no other."""
    report = played(task, *args)
    names = [schedule.name for schedule in report.failed]
    assert not report.ok
    assert [kind for kind in found if not any(name.startswith(kind) for name in names)] == []
    assert [name for name in names if name.startswith(tuple(clean))] == []


def test_the_report_shows_what_differs() -> None:
    """Schedule, place and both sides, as text that a person reads."""
    report = played(ledger.checks_and_marks_late, "p1", 5)
    assert re.sub(r"py:\d+", "py:N", str(report)) == (
        "tests.unit.testing.ledger.checks_and_marks_late is not idempotent: "
        f"1 of {len(report.schedules)} schedules leave other effects\n"
        "\n"
        "killed at ledger.py:N `entries.append((id, amount))`, then run again:\n"
        "  effects (- once, + here):\n"
        "    - {'balances': {'p1': 5}, 'entries': [('p1', 5)], 'locked': set(), 'rows': []}\n"
        "    + {'balances': {'p1': 10}, 'entries': [('p1', 5)], 'locked': set(), 'rows': []}"
    )
    assert (
        "  jobs enqueued (- once, + here):\n"
        "    - [\"tests.unit.testing.ledger.mail('ada') on 'default'\"]\n"
        "    + [\"tests.unit.testing.ledger.mail('ada') on 'default'\",\n"
    ) in str(played(ledger.enqueues, "ada"))


def test_a_task_that_fails_in_the_end_is_told() -> None:
    """What the second run left behind may look right, and its job still be among the dead letters."""
    report = played(ledger.locks, "ada")
    (killed,) = [schedule for schedule in report.failed if schedule.name.startswith("killed")]
    assert "  the job's state (- once, + here):" in killed.differs
    assert killed.seen.state == "failed"


def test_what_cannot_be_compared_is_refused() -> None:
    """Effects that differ by themselves would accuse every task."""
    with pytest.raises(ValueError, match="two ordinary runs leave different effects"):
        played(ledger.counts_runs)
    with pytest.raises(ValueError, match=r"fails when it runs once(?s:.*)planted"):
        played(ledger.fails)


def test_of_many_points_some_are_drawn() -> None:
    """The same seed draws the same ones, so that a finding is found again."""
    names = [[each.name for each in played(ledger.long, 40, points=5, seed=seed).schedules] for seed in (1, 1, 2)]
    assert len(names[0]) == 7
    assert names[0] == names[1]


def test_nothing_is_left_behind() -> None:
    """The tracer of a debugger or of coverage is in place again, and the app as it was."""
    before = sys.gettrace()
    played(ledger.sets, "ada", 1)
    assert sys.gettrace() is before
    assert ledger.app.middlewares == []
