"""The last hour in points."""

from flashq.model import Instant, Stats
from flashq.observe.history import LENGTH, Counted, History, Point

START = Instant(1_700_000_000_000, 50_000)
STATS = Stats(queued=1, processing=2, delayed=3, dlq=4, completed=5, waiting_children=6)


def at(steady_ms: int, wall_ms: int = 0) -> Instant:
    """So long after the start on the steady clock, and so much further on the other one."""
    return Instant(START.wall + steady_ms + wall_ms, START.steady + steady_ms)


def test_rates_are_those_between_two_points() -> None:
    """What was counted before the first point's time falls into no point; later ones share what came between."""
    history = History(Counted(1_000, 900, 90), START)
    history.add(at(5_000), Counted(1_010, 905, 91), STATS, 12.34567, 7, 8)
    history.add(at(10_000), Counted(1_010, 1_005, 91), STATS, 0.0, 7, 8)
    first, second = history.points()
    assert first == Point(
        timestamp=START.wall + 5_000, pushed_per_second=2.0, completed_per_second=1.0, failed_per_second=0.2,
        latency_ms=12.346, queued=1, processing=2, delayed=3, dlq=4, completed=5, waiting_children=6,
        workers=7, memory=8,
    )  # fmt: skip
    assert (second.pushed_per_second, second.completed_per_second) == (0.0, 20.0)


def test_a_late_point_makes_no_peak() -> None:
    """A server that stood still shares out what came meanwhile over all of that time."""
    history = History(Counted(0, 0, 0), START)
    history.add(at(50_000), Counted(500, 0, 0), STATS, 0.0, 0, 0)
    assert history.points()[0].pushed_per_second == 10.0


def test_a_clock_that_is_set_changes_no_rate() -> None:
    """Rates follow the steady clock; the wall clock only dates the points."""
    history = History(Counted(0, 0, 0), START)
    history.add(at(5_000, wall_ms=-3_600_000), Counted(50, 0, 0), STATS, 0.0, 0, 0)
    history.add(at(5_000, wall_ms=0), Counted(51, 0, 0), STATS, 0.0, 0, 0)
    assert [point.pushed_per_second for point in history.points()] == [10.0, 1_000.0]


def test_an_hour_is_remembered() -> None:
    """The oldest point goes when a new one comes, and a list that was given out stays as it was."""
    history = History(Counted(0, 0, 0), START)
    for number in range(1, LENGTH + 1):
        history.add(at(number), Counted(0, 0, 0), STATS, 0.0, 0, 0)
    before = history.points()
    history.add(at(LENGTH + 1), Counted(0, 0, 0), STATS, 0.0, 0, 0)
    assert len(before) == len(history.points()) == LENGTH
    assert before[0].timestamp == START.wall + 1
    assert history.points()[0].timestamp == START.wall + 2
