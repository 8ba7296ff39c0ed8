"""The disk fails at every call to the system, once or from then on: it is believed, and nothing is accepted after it.

``FLASHQ_POINTS_STEP=1`` takes every point instead of every sixth; ``FLASHQ_SEED`` repeats a run.
"""

import logging
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Final

import pytest
from tests.crash.life import BACKUPS, EXIT_STORAGE, NEW, OLD
from tests.crash.points import Point, Run, Stage, every, finds, stage
from tests.crash.test_disk import ends_soon, is_away, strace
from tests.fakes.server_process import EndOfAnswers, ServerProcess
from tests.fakes.tools import needs

STEP: Final = int(os.environ.get("FLASHQ_POINTS_STEP", "6"))
SEED: Final = int(os.environ.get("FLASHQ_SEED", "0")) or random.randrange(1, 10**6)

WRITING: Final = frozenset({"pwrite64", "fdatasync", "fsync", "ftruncate", "rename"})
"""Calls whose failure means that something is not on the disk: it must never pass unnoticed."""

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def may_be_borne(point: Point) -> bool:
    """Whether a life may go on after this call has failed.

    SQLite bears it when it cannot sync the folder, which it does with fdatasync: a start syncs the folder itself, with
    fsync, before anything is accepted. And what happens to a backup does not happen to its database.
    """
    of_a_backup = point.file.startswith(BACKUPS)
    return of_a_backup or point.call not in WRITING or (point.call == "fdatasync" and point.file in (NEW, OLD))


def judge(lives: Stage, run: Run, fault: str) -> None:
    """Fails with the words that repeat it."""
    try:
        lives.judge(run)
    except Exception as error:
        raise AssertionError(f"FLASHQ_SEED={SEED}: {fault}: {error}") from error


@pytest.mark.parametrize("once", [True, False], ids=["once", "from then on"])
@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_an_error_at_every_call(error: str, once: bool) -> None:
    """Told as a failure, nothing accepted afterwards, nothing lost, nothing invented, and the next start is clean."""
    needs(shutil.which("strace") is not None, "strace")
    with stage(SEED) as lives:
        points = lives.points()
        chosen = every(points, STEP, SEED)
        borne = Counter[str]()
        for point in chosen:
            run = lives.failing_at(point, error, once=once)
            fault = f"{error} {'once' if once else 'from then on'} at {point}"
            judge(lives, run, fault)
            assert run.exit_code or may_be_borne(point), f"FLASHQ_SEED={SEED}: {fault}: nobody noticed"
            borne[point.call] += not run.exit_code
    log.info("seed %d: %s at %d of %d calls; borne without harm: %s", SEED, error, len(chosen), len(points), +borne)


def test_writes_that_are_cut_short() -> None:
    """A disk that takes a part of a write and then no more: what is whole counts, what is cut does not."""
    needs(shutil.which("prlimit") is not None, "prlimit")
    dice = random.Random(SEED)
    limits = [dice.randrange(first, first + 5_000) for first in range(4_096, 120_000, 5_000)]
    with stage(SEED) as lives:
        codes = Counter[int]()
        for limit in limits:
            run = lives.play(before=("prlimit", f"--fsize={limit}"))
            judge(lives, run, f"files of {limit} bytes at most")
            codes[run.exit_code] += 1
    assert codes[EXIT_STORAGE] >= 5, codes


@pytest.mark.parametrize(
    ("careless", "call"),
    [("sqlite_moves_the_log_by_itself", "fdatasync"), ("failed_commits_pass_for_done", "pwrite64")],
)
def test_careless_storages_are_noticed(careless: str, call: str) -> None:
    """The controls: who lets SQLite move its log by itself, or goes on after a failed commit, is caught."""
    needs(shutil.which("strace") is not None, "strace")

    def strictly(run: Run) -> None:
        lives.judge(run)
        assert run.exit_code, "nobody noticed"

    with stage(SEED) as lives:
        points = [point for point in lives.points() if point.call == call]
        runs = (lives.failing_at(point, "EIO", once=True, careless=careless) for point in points[::8])
        assert finds(strictly, runs)


def test_a_server_whose_log_cannot_be_moved(tmp_path: Path) -> None:
    """The sync of the database in a checkpoint fails: no ok after the refusal, exit 74 within a second."""
    ends_soon(lambda number: _cannot_move_its_log(tmp_path / f"{number}"))


def _cannot_move_its_log(folder: Path) -> float:
    """Returns the seconds from the refusal to the end."""
    with ServerProcess(folder) as server:
        tracer = strace(server, "fdatasync", "EIO", path=server.data / "flashq.db")
        confirmed, refused_at = [], 0.0
        try:
            with server.client() as client:
                while not refused_at:
                    answer = client.ask("PUSH", queue="q", data="x" * 1_000_000)
                    if answer["ok"]:
                        confirmed.append(answer["id"])
                    elif not is_away(answer):
                        # The last: it came when the server had failed already, while nothing was asked of it.
                        assert answer["code"] in ("storage_error", "shutting_down")
                        refused_at = time.monotonic()
                assert client.rest() == []
        except (EndOfAnswers, ConnectionError):
            refused_at = time.monotonic()
        finally:
            assert server.wait(20) == EXIT_STORAGE
            ended = time.monotonic()
            tracer.wait(20)
            assert isinstance(tracer, subprocess.Popen)
            if tracer.stderr is not None:
                tracer.stderr.close()
        took = ended - refused_at
        assert len(confirmed) >= 20
        server.start()
        with server.client() as client:
            ids = {job["id"] for _ in range(3) for job in client.ok("PULLB", queue="q", count=100, timeout=0)["jobs"]}
        assert ids >= set(confirmed)
    return took
