"""Unit tests of `flashq.engine.pace`."""

from tests.unit.engine.bench import Bench

from flashq.engine.pace import EVERY_MS, KEPT, SHORTEST_MS, Pace


def deliver(pace: Pace, count: int, now: int) -> None:
    """As the engine does it."""
    if now >= pace.note_at:
        pace.note(now)
    pace.delivered += count


def test_a_steady_stream_is_measured_over_any_span() -> None:
    """A job each 100 ms is ten a second, over the last minute and over the last ten seconds."""
    pace = Pace()
    for now in range(0, 200_000, 100):
        deliver(pace, 1, now)
    for span in (60_000, 30_000, 10_000):
        measured = pace.since(200_000 - span, 200_000)
        assert measured is not None
        count, over = measured
        assert span - EVERY_MS <= over <= span
        assert count == over // 100


def test_nothing_is_said_where_there_is_nothing_to_say() -> None:
    """No delivery, none in the span, or one just now."""
    pace = Pace()
    assert pace.since(0, 5_000) is None
    deliver(pace, 100, 1_000)
    assert pace.since(0, 1_000 + SHORTEST_MS - 1) is None
    assert pace.since(0, 1_000 + SHORTEST_MS) == (100, SHORTEST_MS)
    assert pace.since(1_001, 60_000) is None


def test_a_pause_is_no_part_of_the_pace() -> None:
    """After a long silence the measure begins with the first delivery behind it."""
    pace = Pace()
    deliver(pace, 5, 0)
    deliver(pace, 7, 1_000_000)
    assert pace.since(1_000_000 - 60_000, 1_002_000) == (7, 2_000)


def test_a_minute_is_remembered_and_no_more() -> None:
    """However many deliveries there are, a few notes are kept."""
    pace = Pace()
    for now in range(0, 1_000_000, 50):
        deliver(pace, 1, now)
    assert len(pace._notes) == KEPT
    assert (KEPT - 1) * EVERY_MS >= 60_000
    assert pace.since(0, 1_000_000) == (1_200 + 100, 65_000)


def test_every_delivery_is_counted(bench: Bench) -> None:
    """By pull and to parked clients, one by one and in batches; an empty pull is none."""
    pace = bench.queue().pace
    bench.pull()
    assert (pace.delivered, pace.last) == (0, None)
    bench.push_batch(*[{}] * 5)
    bench.pull(count=3)
    bench.pass_time(10)
    bench.pull(count=1)
    bench.pull(count=9)
    assert (pace.delivered, pace.last) == (5, bench.now.steady)
    bench.park("p")
    bench.pass_time(10)
    bench.push()
    assert (pace.delivered, pace.last) == (6, bench.now.steady)
