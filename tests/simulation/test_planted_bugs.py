"""Does the net catch fish? Bugs of the kind that matters are planted, and the simulator must find each of them."""

import pytest
from tests.simulation.campaign import Failed, campaign
from tests.simulation.planted import PLANTED, QUICK
from tests.simulation.world import Violation

SEEDS = 180
STEPS = 700
"""How long the simulator may look for one bug."""


def _assert_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[name](monkeypatch)
    with pytest.raises(Failed) as caught:
        campaign(range(SEEDS), operations=SEEDS * STEPS * 2, steps=STEPS)
    assert isinstance(caught.value.__cause__, Violation), "the planted code fell over by itself"


def test_there_are_enough_of_them() -> None:
    """A net is known by what it caught; two dozen different promises are broken here."""
    assert len(PLANTED) >= 24
    assert set(QUICK) <= PLANTED.keys()


@pytest.mark.parametrize("name", QUICK)
def test_an_obvious_bug_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator notices within a few seeds."""
    _assert_caught(name, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PLANTED if name not in QUICK])
def test_a_bug_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The simulator notices within a bounded number of seeds."""
    _assert_caught(name, monkeypatch)
