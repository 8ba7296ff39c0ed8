"""The pause between attempts: doubled, bounded, and never a huge integer on the way."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.engine.backoff import MAX_BACKOFF_MS, delay_ms


@pytest.mark.parametrize(
    ("backoff", "attempts", "expected"),
    [
        (1000, 1, 1000),
        (1000, 2, 2000),
        (1000, 3, 4000),
        (1000, 12, 2_048_000),
        (1000, 13, 3_600_000),
        (7_200_000, 1, 3_600_000),
        (1, 22, 2_097_152),
        (1, 23, 3_600_000),
        (1, 2**32 - 1, 3_600_000),
        (1000, 0, 1000),
    ],
)
def test_the_table(backoff: int, attempts: int, expected: int) -> None:
    """The pause doubles with every attempt and stops at one hour."""
    assert delay_ms(backoff, attempts) == expected


@given(attempts=st.integers(0, 2**40))
def test_no_backoff_is_at_once_for_ever(attempts: int) -> None:
    """A backoff of 0 retries at once, however often the job has failed."""
    assert delay_ms(0, attempts) == 0


@given(backoff=st.integers(0, 2**50), attempts=st.integers(1, 2**40))
def test_it_never_shrinks_nor_passes_the_ceiling(backoff: int, attempts: int) -> None:
    """One more failure never shortens the pause, and no pair of arguments passes the ceiling."""
    assert delay_ms(backoff, attempts) <= delay_ms(backoff, attempts + 1) <= MAX_BACKOFF_MS
