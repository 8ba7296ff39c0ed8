"""The operator's numbers: those that the wire contract promises are the defaults."""

import pytest

from flashq.engine.settings import Settings


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("default_max_attempts", 3),
        ("default_backoff", 1_000),
        ("lease", 30 * 60 * 1_000),
        ("worker_silence", 30_000),
        ("keep_completed", 50_000),
        ("keep_results", 5_000),
        ("max_returns", 100),
    ],
)
def test_defaults_are_those_of_the_contract(member: str, value: int) -> None:
    """A changed default is a changed promise."""
    assert getattr(Settings(), member) == value


def test_settings_are_never_changed() -> None:
    """An engine reads them once; changing them later would do nothing, so it is refused."""
    with pytest.raises(AttributeError):
        Settings().lease = 1  # type: ignore[misc]
