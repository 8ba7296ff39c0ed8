"""What the comparison says, and what it does not hide."""

from benchmarks.versus.contestants import Contestant
from benchmarks.versus.rounds import Idle, Round
from benchmarks.versus.table import Score, one_line, tables

OURS = Contestant("Ours", "ours", (), "ours", ("ours", "{app}:app"), 10, "as it comes", ("full", "relaxed", "memory"))
THEIRS = Contestant("Theirs", "theirs", ("theirs",), "theirs", ("theirs", "{app}"), 10, "tuned")


def one_round(pushed: float, start: float = 0.25) -> Round:
    """A round with figures that are told apart."""
    return Round(pushed=pushed, drained=2 * pushed, start=start, trip_ms=1.5, slow_trip_ms=9.75)


def rows(text: str, name: str) -> list[str]:
    """The rows of a contestant, in the order of the tables."""
    return [line for line in text.splitlines() if line.startswith(f"| {name} |")]


def test_the_median_stands_with_the_smallest_and_the_largest() -> None:
    """A reader sees how far the rounds lay apart."""
    score = Score(OURS, "1.0", {"full": [one_round(900), one_round(100), one_round(200)]})
    full = rows(tables([score]), "Ours")[0]
    assert full.startswith("| Ours | 200 (100 to 900) | 400 (200 to 1,800) | 1.5 (1.5 to 1.5) | 9.75 (9.75 to 9.75) |")


def test_only_equal_promises_stand_side_by_side() -> None:
    """A table holds nobody who answers a push earlier than the others in it do."""
    text = tables([Score(OURS, "1"), Score(THEIRS, "2")])
    synced, system, memory = text.split("**A push is answered when ")[1:]
    assert synced.startswith("it is synced to the disk")
    assert rows(synced, "Theirs")
    assert system.startswith("the operating system has it")
    assert rows(system, "Theirs")
    assert memory.startswith("it is in memory")
    assert not rows(memory.partition("**A worker")[0], "Theirs")


def test_what_was_not_measured_is_a_dash_and_not_a_zero() -> None:
    """Nobody is slow because they were not there."""
    assert (
        rows(tables([Score(THEIRS, None, failure="no such package")]), "Theirs")[0] == "| Theirs | - | - | - | - | - |"
    )


def test_a_failure_is_told_in_the_table_with_its_reason() -> None:
    """Who is missing, is missing for a reason that the reader can judge."""
    text = tables([Score(THEIRS, None, failure="pip said:\n no | network")])
    assert "| Theirs | - | `theirs APP`: tuned **Failed: pip said: no / network** |" in text


def test_rest_is_shown_in_mebibytes_and_percent() -> None:
    """Memory counts shared pages once, processor time is part of one core."""
    score = Score(OURS, "1", idle=Idle(resident=90 * 1024**2, proportional=50 * 1024**2, cpu=0.00125))
    assert "| Ours | 50 | 0.12 |" in tables([score])


def test_long_reasons_keep_their_end() -> None:
    """Errors of programs say what went wrong in their last line."""
    assert one_line("Traceback\n" + "x" * 500 + "\nKeyError: 1", 20).endswith("KeyError: 1")
    assert len(one_line("y" * 500)) == 200
