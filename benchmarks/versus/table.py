"""The comparison as text: a table for each promise, one for idle workers, and how everybody was set up.

A table compares only what promises the same: systems whose push is answered at different moments do different work.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

from benchmarks.report import number
from benchmarks.versus.contestants import MEANING, Contestant, Promise
from benchmarks.versus.rounds import Idle, Round

MIB: Final = 1024 * 1024

COLUMNS: Final[tuple[tuple[str, Callable[[Round], float]], ...]] = (
    ("pushed one by one, jobs/s", lambda one: one.pushed),
    ("drained, jobs/s", lambda one: one.drained),
    ("push to result, p50 ms", lambda one: one.trip_ms),
    ("p99 ms", lambda one: one.slow_trip_ms),
    ("worker start to first job, s", lambda one: one.start),
)


@dataclass
class Score:
    """What is known of one contestant.

    Attributes:
        contestant: the one.
        version: that was installed; None: nothing was, and ``failure`` says why.
        rounds: for each promise.
        idle: its worker without work.
        failure: what went wrong; it is not asked again then.
    """

    contestant: Contestant
    version: str | None = None
    rounds: dict[Promise, list[Round]] = field(default_factory=dict)
    idle: Idle | None = None
    failure: str = ""


def tables(scores: Sequence[Score]) -> str:
    """All of it, in Markdown."""
    parts = [_promised(promise, scores) for promise in MEANING]
    return "\n\n".join(part for part in (*parts, _idle(scores), _settings(scores)) if part)


def _promised(promise: Promise, scores: Sequence[Score]) -> str:
    """Who promises the same, side by side."""
    taking_part = [score for score in scores if promise in score.contestant.promises]
    if not taking_part:
        return ""
    rows = [("", *(title for title, _ in COLUMNS))]
    for score in taking_part:
        rounds = score.rounds.get(promise, [])
        rows.append((score.contestant.name, *(_cell([read(one) for one in rounds]) for _, read in COLUMNS)))
    return f"**{MEANING[promise]}**:\n\n{_grid(rows)}"


def _idle(scores: Sequence[Score]) -> str:
    """Workers without work."""
    rows = [("", "memory, MiB", "processor, % of a core")]
    for score in scores:
        if score.idle is not None:
            cpu = f"{100 * score.idle.cpu:.2f}"
            rows.append((score.contestant.name, number(score.idle.proportional / MIB), cpu))
    return f"**A worker without work** (all its processes; pages they share count once):\n\n{_grid(rows)}"


def _settings(scores: Sequence[Score]) -> str:
    """Versions and set-ups, and what went wrong."""
    rows = [("", "version", "commands and settings")]
    for score in scores:
        command = " ".join(score.contestant.worker).replace("{app}", "APP")
        settings = f"`{command}`: {score.contestant.setting}"
        failure = f" **Failed: {one_line(score.failure)}**" if score.failure else ""
        rows.append((score.contestant.name, score.version or "-", settings + failure))
    return f"**How they were set up**:\n\n{_grid(rows)}"


def one_line(text: str, most: int = 200) -> str:
    """The end of a text in one line that no table stumbles over."""
    return " ".join(text.split()).replace("|", "/")[-most:]


def _cell(values: list[float]) -> str:
    """Median, and min to max if there is more than one."""
    if not values:
        return "-"
    spread = f" ({number(min(values))} to {number(max(values))})" if len(values) > 1 else ""
    return number(median(values)) + spread


def _grid(rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
