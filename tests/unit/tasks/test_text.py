"""Texts that are kept with a job: whatever comes can be sent."""

import pytest

from flashq.tasks.text import sendable


@pytest.mark.parametrize(
    ("text", "sent"),
    [("ascii", "ascii"), ("a\ud800b", "a?b"), ("x" * 100, "x" * 10), ("é" * 100, "é" * 5), ("€€€€", "€€€"), (7, "7")],
)
def test_what_comes_out_is_short_and_can_be_written(text: object, sent: str) -> None:
    """Half characters are replaced, long texts cut between two characters."""
    assert sendable(text, 10) == sent
    assert len(sent.encode()) <= 10
