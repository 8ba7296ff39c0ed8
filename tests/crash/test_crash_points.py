"""Killed at every call to the system, one life after the other: whatever was told ok is there, and nothing else.

``FLASHQ_POINTS_STEP=1`` takes every point instead of every fourth; ``FLASHQ_SEED`` repeats a run.
"""

import logging
import os
import random
import shutil
from collections import Counter
from typing import Final

import pytest
from tests.crash.points import every, finds, stage
from tests.fakes.tools import needs

STEP: Final = int(os.environ.get("FLASHQ_POINTS_STEP", "4"))
SEED: Final = int(os.environ.get("FLASHQ_SEED", "0")) or random.randrange(1, 10**6)

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.parametrize("half", [0, 1])
def test_killed_at_every_call(half: int) -> None:
    """The first start, a migration, commits, folding, moving the log, a backup, a clean stop: no kill harms any."""
    needs(shutil.which("strace") is not None, "strace")
    with stage(SEED) as lives:
        points = lives.points()
        chosen = every(points, STEP, SEED)[half::2]
        for point in chosen:
            run = lives.killed_at(point)
            assert run.exit_code < 0, f"FLASHQ_SEED={SEED}: {point} was never reached"
            try:
                lives.judge(run)
            except Exception as error:
                raise AssertionError(f"FLASHQ_SEED={SEED}: killed at {point}: {error}") from error
    log.info("seed %d: killed at %d of %d calls: %s", SEED, len(chosen), len(points), Counter(p.call for p in chosen))


def test_a_journal_that_is_forgotten_too_early_is_noticed() -> None:
    """The control: a storage that empties its journal before the tables hold what was in it loses, and is caught."""
    needs(shutil.which("strace") is not None, "strace")
    careless = "the_journal_is_emptied_first"
    with stage(SEED) as lives:
        points = [point for point in lives.points() if point.call == "pwrite64"]
        assert finds(lives.judge, (lives.killed_at(point, careless) for point in points[::8]))
