"""Completions a second and their latency, over the last minute."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.strategies import steps_of

from flashq.engine.rates import Rates


def test_the_first_second_is_not_divided_by_a_minute() -> None:
    """A server that has run for one second reports what it did in that second."""
    rates = Rates(1_000)
    rates.completed(50, 500, 1_200)
    assert rates.per_second(1_900) == 50.0
    assert rates.per_second(2_000) == 25.0
    assert rates.average_latency_ms(2_000) == 10.0


def test_after_a_minute_it_is_forgotten() -> None:
    """What was completed sixty seconds ago no longer counts, what was completed 59 seconds ago does."""
    rates = Rates(0)
    rates.completed(60, 60, 0)
    assert rates.per_second(59_999) == 1.0
    assert rates.per_second(60_000) == 0.0
    assert rates.average_latency_ms(60_000) == 0.0


def test_a_long_silence_clears_everything() -> None:
    """After hours without a job nothing of the old minute is left, whichever second it is."""
    rates = Rates(0)
    for second in range(60):
        rates.completed(1, 1, second * 1_000)
    assert rates.per_second(10**8) == 0.0


def test_a_clock_set_back_starts_over() -> None:
    """When the wall clock goes back, two minutes are not mixed into one."""
    rates = Rates(10**9)
    rates.completed(100, 100, 10**9)
    rates.completed(3, 30, 10**9 - 3_600_000)
    assert rates.per_second(10**9 - 3_600_000) == 3.0
    assert rates.average_latency_ms(10**9 - 3_600_000) == 10.0


def test_latencies_are_never_negative() -> None:
    """A job pushed before the wall clock was set back did not complete before it was pushed."""
    rates = Rates(0)
    rates.completed(1, -3_600_000, 0)
    assert rates.average_latency_ms(0) == 0.0


@given(steps_of(st.tuples(st.integers(0, 20_000), st.integers(1, 100), st.integers(0, 10_000)), 40))
def test_it_is_a_sum_over_a_list(steps: list[tuple[int, int, int]]) -> None:
    """Against a naive twin: a list of all completions, of which the last sixty seconds are summed."""
    rates = Rates(0)
    done: list[tuple[int, int, int]] = []
    now = 0
    for pause, count, latency in steps:
        now += pause
        rates.completed(count, latency, now)
        done.append((now // 1_000, count, latency))
        recent = [entry for entry in done if entry[0] > now // 1_000 - 60]
        total = sum(count for _, count, _ in recent)
        assert rates.per_second(now) == pytest.approx(total / min(60, now // 1_000 + 1))
        assert rates.average_latency_ms(now) == pytest.approx(sum(ms for _, _, ms in recent) / total)
