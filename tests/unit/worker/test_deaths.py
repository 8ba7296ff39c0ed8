"""Words for the end of a process."""

import pytest

from flashq.worker.deaths import how


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "exited with status 0"),
        (3, "exited with status 3"),
        (-11, "killed by SIGSEGV"),
        (-9, "killed by SIGKILL"),
        (-50, "killed by signal 50"),
    ],
)
def test_how(code: int, words: str) -> None:
    """A status is a number, a signal has its name, and one without a name is told by its number."""
    assert how(code) == words
