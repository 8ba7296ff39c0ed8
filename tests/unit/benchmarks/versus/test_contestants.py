"""Everybody who takes part has what the comparison needs of them."""

from importlib.util import find_spec

import pytest
from benchmarks.versus.contestants import CONTESTANTS, FLASHQ, MEANING, Contestant


def test_names_are_unique() -> None:
    """Results are kept by name; two of one name would become one."""
    assert len({one.name for one in CONTESTANTS}) == len(CONTESTANTS)


@pytest.mark.parametrize("contestant", CONTESTANTS, ids=lambda one: one.name)
def test_each_has_its_tasks_and_a_worker_for_them(contestant: Contestant) -> None:
    """The module of the tasks exists, and the worker's command has no gap left."""
    assert find_spec(contestant.app) is not None
    assert not [word for word in contestant.command if "{" in word]
    assert contestant.jobs > 0
    assert contestant.setting
    assert set(contestant.promises) <= set(MEANING)


def test_only_we_promise_to_keep_nothing() -> None:
    """The others are compared with what promises as much as they do, and not with our memory mode."""
    assert {one.app.partition("on_")[2] for one in CONTESTANTS if "memory" in one.promises} == {
        "flashq",
        "flashq_plain",
    }
    assert FLASHQ.requirements == ()
