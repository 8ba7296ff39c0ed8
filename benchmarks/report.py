"""What was measured, as data; and the one place that prints it, to a terminal or into a document.

A single figure of a shared machine says little, so a result keeps all its samples and shows their median with the
smallest and the largest.
"""

import argparse
import re
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Final, Literal

from benchmarks.machine import Bystanders, describe, pin_load

Durability = Literal["memory", "relaxed", "full", "postgres"]
"""Nothing is kept; SQLite without and with a sync for each commit; PostgreSQL, whose commits wait for its disk."""


@dataclass(frozen=True)
class Marks:
    """Two lines of a document, between which it receives figures."""

    begin: str
    end: str


FIGURES: Final = Marks("<!-- figures: begin -->", "<!-- figures: end -->")
"""Those of our own figures."""


@dataclass(frozen=True)
class Size:
    """How much is measured.

    Attributes:
        runs: samples a result.
        share: part of the jobs of a full measurement, 0 to 1.
    """

    runs: int = 5
    share: float = 1.0

    def jobs(self, full: int, multiple: int = 1) -> int:
        """``full`` jobs scaled down, as a multiple of ``multiple`` and at least one of it."""
        return max(1, int(full * self.share) // multiple) * multiple


FULL: Final = Size()
QUICK: Final = Size(runs=3, share=0.1)
TINY: Final = Size(runs=1, share=0.002)
"""As published; for a first look; for a test that only wants to see that it works."""


@dataclass(frozen=True)
class Goal:
    """A bound that a median should keep: at least ``least``, or at most ``most``."""

    least: float | None = None
    most: float | None = None

    def met(self, value: float) -> bool:
        """Whether ``value`` keeps the bound."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)

    def __str__(self) -> str:
        parts = [f"at least {number(self.least)}"] if self.least is not None else []
        parts += [f"at most {number(self.most)}"] if self.most is not None else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Result:
    """One answer.

    Attributes:
        what: what was measured, in words that stand alone.
        durability: of the server; None where no server takes part.
        unit: of the samples.
        samples: one a run, in the order of the runs.
        goal: the bound to keep, if there is one.
        command: what measures it again.
    """

    what: str
    durability: Durability | None
    unit: str
    samples: tuple[float, ...]
    goal: Goal | None = None
    command: str = ""

    @property
    def median(self) -> float:
        """The sample in the middle."""
        return median(self.samples)

    @property
    def verdict(self) -> str:
        """Whether the goal is reached, in a word; empty without one."""
        if self.goal is None:
            return ""
        return "reached" if self.goal.met(self.median) else "MISSED"


Question = Callable[[Size], Iterable[Result]]


def number(value: float) -> str:
    """A figure with about three digits that mean something."""
    if abs(value) >= 1_000:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    return f"{value:,.3g}"


def line(result: Result) -> str:
    """One result for a terminal."""
    spread = f"{number(result.median)} {result.unit} ({number(min(result.samples))} to {number(max(result.samples))})"
    goal = f"  {result.goal}: {result.verdict}" if result.goal else ""
    return f"  {result.what} [{result.durability or 'no server'}]: {spread}{goal}"


def table(results: Sequence[Result]) -> str:
    """All results as a table in Markdown."""
    rows = ["| what | durability | median | min to max | to reach | |", "|---|---|---|---|---|---|"]
    for result in results:
        low, high = number(min(result.samples)), number(max(result.samples))
        cells = [
            result.what,
            result.durability or "-",
            f"{number(result.median)} {result.unit}",
            f"{low} to {high}",
            str(result.goal or "-"),
            result.verdict,
        ]
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def section(results: Sequence[Result], machine: str, command: str, others: float) -> str:
    """What stands between the marks of a document: machine, command, and a table for each module.

    Args:
        results: all of them, in order.
        machine: as `benchmarks.machine.describe` gives it.
        command: what was run.
        others: part of the processor time that other programs used meanwhile, 0 to 1.
    """
    parts = [f"{_where(machine, others)}\n\nAll of it: `{command}`."]
    for module_command in dict.fromkeys(result.command for result in results):
        own = [result for result in results if result.command == module_command]
        parts.append(f"{_title(own)}:\n\n{table(own)}")
    return "\n\n".join(parts)


def renewed(text: str, results: Sequence[Result], machine: str, others: float) -> str:
    """A section with the results of one module in the place of those that it had; see `section`.

    What is renewed was measured at another time than the rest, so it says where by itself.
    """
    part = f"{_title(results)}, renewed later. {_where(machine, others)}\n\n{table(results)}\n\n"
    command = f"`{results[0].command}`"
    parts = re.split(r"^(?=`python -m )", f"{text.strip()}\n\n", flags=re.MULTILINE)
    if not any(each.startswith(command) for each in parts):
        parts.append(part)
    return "".join(part if each.startswith(command) else each for each in parts).strip()


def _title(results: Sequence[Result]) -> str:
    runs = sorted({len(result.samples) for result in results})
    return f"`{results[0].command}`, {' to '.join(map(str, (runs[0], *runs[1:][-1:])))} runs"


def _where(machine: str, others: float) -> str:
    return f"Machine: {machine}. Other programs used {others:.0%} of its processor time."


def write_into(path: Path, text: str, marks: Marks = FIGURES) -> None:
    """Replace what stands between the two marks of a document.

    Raises:
        ValueError: the document has no such marks.
    """
    before, _, after = _around(path, marks)
    path.write_text(f"{before}{marks.begin}\n\n{text}\n\n{marks.end}{after}", encoding="utf-8")


def check_marks(path: Path, marks: Marks = FIGURES) -> None:
    """Raise now what `write_into` would raise after all the measuring.

    Raises:
        ValueError: the document has no such marks.
    """
    _around(path, marks)


def _around(path: Path, marks: Marks) -> tuple[str, str, str]:
    """What stands before, between and behind the marks of a document."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(marks.begin)
    between, end, after = rest.partition(marks.end)
    if not begin or not end:
        raise ValueError(f"{path} has no lines {marks.begin} and {marks.end}")
    return before, between, after


def measure(questions: dict[str, Question], size: Size) -> Iterator[Result]:
    """Ask one question after the other; ``questions`` by the name of their module."""
    for module, question in questions.items():
        command = f"python -m {module}{' --quick' if size is QUICK else ''}"
        print(f"{command}  (up to {size.runs} runs, median and min to max)", flush=True)
        others = Bystanders()
        for result in question(size):
            named = replace(result, command=command)
            print(line(named), flush=True)
            yield named
        print(f"  (other programs used {others.share():.0%} of the processor time meanwhile)", flush=True)


def main(questions: dict[str, Question], program: str) -> None:
    """The command line of every benchmark: measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(prog=f"python -m {program}")
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs, three runs: for a first look")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the figures into this document")
    given = parser.parse_args()
    if given.write:
        check_marks(given.write)
    machine = describe()
    pin_load()
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that servers and folders go, too
    print(f"Machine: {machine}", flush=True)
    others = Bystanders()
    results = list(measure(questions, QUICK if given.quick else FULL))
    if given.write and len(questions) == 1:
        _, figures, _ = _around(given.write, FIGURES)
        write_into(given.write, renewed(figures, results, machine, others.share()))
    elif given.write:
        command = " ".join(["python", "-m", program, *sys.argv[1:]])
        write_into(given.write, section(results, machine, command, others.share()))
