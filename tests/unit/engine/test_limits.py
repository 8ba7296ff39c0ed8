"""The brakes of a queue: pause, rate and concurrency say together how many may go."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st
from tests.unit.engine.strategies import steps_of

from flashq.engine.limits import Limits


def test_without_a_brake_all_may_go() -> None:
    """A queue without settings is free, at any moment and with any number of attempts."""
    limits = Limits()
    assert limits.free
    assert limits.allow(1_000, 10**6, 0) == 1_000
    assert limits.next_token(0) is None


def test_pause_stops_everything_and_resume_undoes_it() -> None:
    """A paused queue lets nothing go, whatever its limits would allow."""
    limits = Limits()
    limits.set_concurrency(5)
    limits.set_rate(5, 0)
    limits.set_paused(True)
    assert limits.allow(3, 0, 0) == 0
    assert limits.next_token(0) is None
    limits.set_paused(False)
    assert limits.allow(3, 0, 0) == 3
    assert not limits.free


def test_concurrency_counts_what_runs_already() -> None:
    """As many may go as slots are free; a limit set below what runs lets nothing go, never a negative number."""
    limits = Limits()
    limits.set_concurrency(3)
    assert [limits.allow(10, active, 0) for active in (0, 2, 3, 9)] == [3, 1, 0, 0]
    limits.set_concurrency(0)
    assert limits.free


def test_the_bucket_starts_full_and_holds_no_more_than_the_limit() -> None:
    """A limit of ten lets ten go at once, and no more than ten after any pause."""
    limits = Limits()
    limits.set_rate(10, 1_000)
    assert limits.allow(100, 0, 1_000) == 10
    limits.took(10)
    assert limits.allow(100, 0, 1_000) == 0
    assert limits.allow(100, 0, 1_099) == 0
    assert limits.allow(100, 0, 1_100) == 1
    assert limits.allow(100, 0, 10**9) == 10


def test_asking_costs_nothing() -> None:
    """Only a delivered job takes a token."""
    limits = Limits()
    limits.set_rate(2, 0)
    for _ in range(5):
        assert limits.allow(1, 0, 0) == 1
    limits.took(1)
    assert limits.allow(5, 0, 0) == 1


def test_after_a_restart_the_bucket_is_empty() -> None:
    """A restart is no way around the limit."""
    limits = Limits()
    limits.set_rate(4, 10_000, full=False)
    assert limits.allow(4, 0, 10_000) == 0
    assert limits.allow(4, 0, 10_250) == 1


def test_the_next_token_is_told_to_the_millisecond() -> None:
    """The time of the next token is the first at which one may go; None when one may go now."""
    limits = Limits()
    limits.set_rate(3, 0)
    assert limits.next_token(0) is None
    limits.took(2)
    assert limits.next_token(0) is None  # one is left, which is enough
    limits.took(1)
    assert limits.next_token(0) == 334
    assert limits.next_token(100) == 334  # and without another question in between
    assert limits.allow(1, 0, 333) == 0
    assert limits.allow(1, 0, 334) == 1


def test_without_a_rate_nothing_is_paid() -> None:
    """Deliveries before a limit is set are not held against it."""
    limits = Limits()
    limits.set_concurrency(1)
    limits.took(1)
    limits.set_rate(1, 0)
    assert limits.allow(1, 0, 0) == 1


@given(st.integers(1, 5_000), steps_of(st.tuples(st.integers(0, 3_000), st.integers(0, 50)), 50))
def test_the_bucket_is_exact(rate: int, steps: list[tuple[int, int]]) -> None:
    """Against a naive twin in fractions: no token is ever lost to rounding, and none is found."""
    limits = Limits()
    limits.set_rate(rate, 0)
    tokens = Fraction(rate)
    now = 0
    for pause, wanted in steps:
        now += pause
        tokens = min(Fraction(rate), tokens + Fraction(pause * rate, 1_000))
        granted = limits.allow(wanted, 0, now)
        assert granted == min(wanted, int(tokens))
        limits.took(granted)
        tokens -= granted
        due = limits.next_token(now)
        missing = 1 - tokens
        assert due == (now + -(-missing * 1_000 // rate) if missing > 0 else None)


def test_how_long_many_tokens_take() -> None:
    """From what is in the bucket and its refill; asking changes neither."""
    limits = Limits()
    limits.set_rate(4, 0)
    assert [limits.wait_for(count, 0) for count in (0, 1, 4, 5, 8, 9)] == [0, 0, 0, 250, 1_000, 1_250]
    limits.took(4)
    for _ in range(3):
        assert [limits.wait_for(count, 100) for count in (1, 2)] == [150, 400]
    assert limits.allow(5, 0, 250) == 1
