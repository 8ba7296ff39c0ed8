"""The machine is described so that a figure can be judged by it."""

import os

import pytest
from benchmarks import machine
from benchmarks.machine import Bystanders, cpu_seconds, describe, resident_bytes


def test_the_description_names_what_figures_depend_on() -> None:
    """Without cores, interpreter, kernel, libraries and disk a figure cannot be compared with another."""
    text = describe()
    words = "cores", "turns takes", "CPython 3.", "msgspec", "uvloop", "apsw", "a sync of 4 KiB takes", "load average"
    for word in words:
        assert word in text


def test_memory_and_time_of_a_process_are_read() -> None:
    """This very process holds some megabytes and has used some time."""
    assert 1024**2 < resident_bytes(os.getpid()) < 64 * 1024**3
    assert cpu_seconds(os.getpid()) > 0


def test_our_own_work_is_not_that_of_others() -> None:
    """The share of others is a part of the whole, whatever we do meanwhile."""
    others = Bystanders()
    sum(range(100_000))
    assert 0 <= others.share() <= 1


def test_others_never_use_more_than_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """One tick of others out of one tick of all is the whole, however the two differences are rounded."""
    seconds = iter([(29_000.0, 9_000.0), (29_000.01, 9_000.01)])
    monkeypatch.setattr(machine, "_machine_seconds", lambda: next(seconds))
    monkeypatch.setattr(machine, "_own_seconds", lambda: 0.0)
    assert Bystanders().share() == 1
