"""The judge of killed workers finds every fault it is there for; a judge that finds none proves nothing."""

from pathlib import Path
from typing import Any

import pytest
from tests.crash.attempts import busy, reruns, stories, violations

LOST = "worker lost"


def event(kind: str, at: int, error: str | None = None) -> dict[str, Any]:
    """What the server says of job 1."""
    return {"event_type": kind, "job_id": 1, "timestamp": at, **({"error": error} if error else {})}


def judged(folder: Path, notes: str, events: list[dict[str, Any]], state: str, most: int = 0) -> list[str]:
    """The faults of a story of job 1."""
    file = folder / "notes"
    file.write_text(notes.replace(", ", "\n"))
    return violations(stories({1: most}, {1: state}, file, events))


@pytest.mark.parametrize(
    ("notes", "events", "state", "most"),
    [
        ("begin 1 1 10 7, end 1 1 20 7", [event("completed", 21)], "completed", 0),
        (
            "begin 1 1 10 7, begin 1 2 30 7, end 1 2 40 7",
            [event("retrying", 30, LOST), event("completed", 41)],
            "completed",
            0,
        ),
        ("begin 1 2 30 7, end 1 2 40 7", [event("retrying", 20, LOST), event("completed", 41)], "completed", 2),
        ("begin 1 1 10 7, begin 1 2 30 7", [event("retrying", 20, LOST), event("failed", 41, LOST)], "failed", 2),
    ],
    ids=["plain", "killed once", "killed before it began", "killed too often"],
)
def test_what_is_right(notes: str, events: list[dict[str, Any]], state: str, most: int, tmp_path: Path) -> None:
    """A job that was killed and ran again later, or was killed too often, is no fault."""
    assert judged(tmp_path, notes, events, state, most) == []


@pytest.mark.parametrize(
    ("notes", "events", "state", "fault"),
    [
        ("begin 1 1 10 7", [], "active", "lost"),
        ("begin 1 1 10 7", [event("completed", 20)], "completed", "completed without having run"),
        ("begin 1 1 10 7, end 1 1 20 7", [event("completed", 20)] * 2, "completed", "completed 2 times"),
        ("begin 1 1 10 7", [event("failed", 20, LOST)], "failed", "failed with attempts left"),
        (
            "begin 1 1 10 7, end 1 1 15 7, begin 1 2 19 7, end 1 2 30 7",
            [event("retrying", 20, LOST), event("completed", 31)],
            "completed",
            "attempt 2 began before the one before was given up",
        ),
        ("begin 1 1 10 7, begin 1 2 19 7, end 1 2 20 7", [event("completed", 21)], "completed", "was never given up"),
        (
            "begin 1 1 10 7, begin 1 1 11 7, end 1 1 20 7",
            [event("completed", 21)],
            "completed",
            "attempt 1 began 2 times",
        ),
        (
            "begin 1 1 10 7, begin 1 2 30 7, end 1 2 40 7",
            [event("retrying", 20, "KeyError"), event("completed", 41)],
            "completed",
            "failed for no reason of ours: 'KeyError'",
        ),
    ],
)
def test_what_is_wrong(notes: str, events: list[dict[str, Any]], state: str, fault: str, tmp_path: Path) -> None:
    """Each rule, broken once, is told."""
    found = judged(tmp_path, notes, events, state)
    assert len(found) == 1
    assert fault in found[0]


def test_who_is_busy(tmp_path: Path) -> None:
    """A process is busy from the begin of an attempt to its end, and for ever if it was killed in between."""
    file = tmp_path / "notes"
    file.write_text("begin 1 1 10 7\nbegin 2 1 11 8\nend 2 1 12 8\nbegin 3 1 13 9\nbegin 1 2 20 8\n")
    assert busy(file) == [7, 8, 9]
    file.write_text("begin 1 1 10 7\nend 1 1 11 7\n")
    assert busy(file) == []


def test_deaths_are_counted(tmp_path: Path) -> None:
    """A run in which nothing was killed is told from one in which everything went well in spite of kills."""
    file = tmp_path / "notes"
    file.write_text("begin 1 2 30 7\nend 1 2 40 7\n")
    events = [event("retrying", 20, LOST), event("completed", 41)]
    assert reruns(stories({1: 0}, {1: "completed"}, file, events)) == {LOST: 1}
