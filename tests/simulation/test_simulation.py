"""The simulator at work: nothing the server does may differ from the naive model, whatever happens to it."""

import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from tests.simulation.campaign import Failed, Summary, campaign, campaigns, live

_ROOT: Final = Path(__file__).parents[2]
_SMALL: Final = 50_000
_LARGE: Final = 5_000_000
_RECOVERIES: Final = 25_000
"""At least so many restarts in the large campaign."""

_FAULTS: Final = (
    "crash",
    "crash again",
    "write error",
    "storage away",
    "clock set",
    "busy loop",
    "connection closed",
    "answer never read",
)


def _operations(default: int) -> int:
    return int(os.environ.get("FLASHQ_SIM_OPS") or default)


def _first_seed() -> int:
    return int(os.environ.get("FLASHQ_SIM_SEED") or 1)


def _assert_blind_spots(total: Summary, *allowed: str) -> None:
    never = set(total.missing()) - set(allowed)
    assert not never, f"never happened, so it was not tested: {sorted(never)}"
    faults = [fault for fault in _FAULTS if not total.stats[f"fault: {fault}"]]
    assert not faults, f"faults that never struck: {faults}"


def test_a_small_campaign() -> None:
    """Tens of thousands of operations agree with the model, and every command and fault was among them."""
    _assert_blind_spots(campaign(count(_first_seed()), _operations(_SMALL)))


@pytest.mark.slow
@pytest.mark.timeout(1_800)
def test_a_large_campaign() -> None:
    """Millions of operations and thousands of restarts agree with the model."""
    operations = _operations(_LARGE)
    total = campaigns(1_000_000 * _first_seed(), operations, processes=2)
    print(total.table())  # noqa: T201 - what a campaign did not do is what it did not test
    _assert_blind_spots(total)
    assert total.operations >= operations
    assert total.recoveries >= _RECOVERIES * operations // _LARGE


def test_a_seed_decides_everything() -> None:
    """The same seed ends in the same state, also in a process whose hashes are salted otherwise."""
    program = "from tests.simulation.campaign import live; print(*[live(seed, 400)[1] for seed in (3, 4, 5)])"
    ends = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    }
    assert len(ends) == 1
    assert ends.pop().split() == [live(seed, 400)[1] for seed in (3, 4, 5)]
    assert live(6, 400)[1] != live(7, 400)[1]


def test_a_failure_says_how_to_see_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the seed and the command that replays it."""
    monkeypatch.setattr("flashq.engine.settle.delay_ms", lambda backoff, attempts: backoff + 1)
    with pytest.raises(Failed, match=r"python -m tests\.simulation --seed \d+ --steps 500 -v"):
        campaign(range(20), operations=10_000, steps=500)


def test_the_command_line_replays_a_seed() -> None:
    """`python -m tests.simulation` tells what happened and ends with 0."""
    command = [sys.executable, "-m", "tests.simulation", "--seed", "9", "--steps", "200", "-v"]
    told = subprocess.run(command, cwd=_ROOT, capture_output=True, text=True, check=True).stdout
    assert "Push(" in told
    assert "recoveries" in told
    assert f"digest {live(9, 200)[1]}" in told
