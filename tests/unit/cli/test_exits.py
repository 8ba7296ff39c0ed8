"""Exit codes are what scripts read, so they do not change by accident."""

import pytest

from flashq import errors
from flashq.cli import exits
from flashq.client import Unreachable
from flashq.errors import BY_CODE, CallTimeout, ConnectionLost, FlashQError, NotFound


def test_the_numbers() -> None:
    """The numbers themselves: a change here breaks scripts."""
    assert [exits.OK, exits.FAILED, exits.USAGE, exits.REFUSED, exits.NOTHING, exits.INTERRUPTED] == [
        0,
        1,
        2,
        3,
        4,
        130,
    ]
    assert set(exits.LEGEND) == {0, 1, 2, 3, 4, 130}


@pytest.mark.parametrize("error", [error for error in BY_CODE.values() if error is not NotFound])
def test_refusals(error: type[FlashQError]) -> None:
    """Every code of the server is a refusal, but the one for what is not there."""
    assert exits.exit_code(error("no")) == exits.REFUSED


def test_nothing_there() -> None:
    """What is not there has a code of its own."""
    assert exits.exit_code(NotFound("no")) == exits.NOTHING


@pytest.mark.parametrize("error", [ConnectionLost, Unreachable, CallTimeout, FlashQError])
def test_no_usable_answer(error: type[FlashQError]) -> None:
    """No answer, or one that makes no sense, is no refusal."""
    assert exits.exit_code(error("?")) == exits.FAILED


def test_every_error_has_a_code() -> None:
    """No error of the tree is forgotten: each gives one of the documented codes."""
    tree = [error for error in vars(errors).values() if isinstance(error, type) and issubclass(error, FlashQError)]
    assert {exits.exit_code(error("x")) for error in tree} <= set(exits.LEGEND)
