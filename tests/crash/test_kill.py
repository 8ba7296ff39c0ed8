"""kill -9 of a server under load, again and again: nothing confirmed is lost, nothing happens twice.

``FLASHQ_KILLS`` sets how often, ``FLASHQ_SEED`` when.
"""

import logging
import os
import random
import time
from pathlib import Path
from typing import Final

import pytest
from tests.crash.history import violations
from tests.crash.workload import LIMIT, Crowd, drain, set_limit, waits
from tests.fakes.server_process import ServerProcess

KILLS: Final = int(os.environ.get("FLASHQ_KILLS", "40"))
SEED: Final = int(os.environ.get("FLASHQ_SEED", "0")) or random.randrange(1, 10**6)
READY_SECONDS: Final = 2

log = logging.getLogger(__name__)


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * KILLS)
def test_killed_under_load(tmp_path: Path) -> None:
    """Many kills (up to twice as many on a slow machine): everything confirmed is done once, under a real load."""
    enough = 5_000 * KILLS
    assert run(tmp_path, KILLS, enough) >= enough


def test_killed_three_times(tmp_path: Path) -> None:
    """The same, short enough for every day."""
    assert run(tmp_path, 3) > 1_000


@pytest.mark.slow
def test_killed_with_relaxed_durability(tmp_path: Path) -> None:
    """What was handed to the system survives the death of the server, though not that of the machine."""
    assert run(tmp_path, 5, durability="relaxed") > 1_000


def run(folder: Path, kills: int, enough: int = 0, *, durability: str = "full") -> int:
    """Load a server, kill it so many times and until enough is done, drain what is left and check.

    Returns:
        How many jobs were acknowledged.
    """
    server = ServerProcess(folder, unix=True, environment={"DURABILITY": durability})
    server.start()
    assert server.mode.startswith(durability)
    server.environment |= {"PORT": str(server.port), "HTTP_PORT": str(server.http_port)}
    set_limit(server)
    crowd = Crowd(server, SEED)
    crowd.start()
    recoveries = []
    for number, wait in zip(range(2 * kills), waits(SEED, 0.05, 1.5), strict=False):
        if number >= kills and crowd.done() >= enough:
            break
        time.sleep(wait)  # the fault comes when it comes
        server.kill()
        crowd.look_for_trouble()
        if number % 4 == 3:  # and once more while it recovers
            server.launch()
            time.sleep(wait / 10)
            server.kill()
        server.start()
        recoveries.append(server.start_seconds)
    crowd.stop()
    server.restart()  # attempts that nobody will finish are ready again
    worker = drain(server)
    history = crowd.history(worker)
    server.stop()
    found = violations(history, LIMIT)
    acknowledged = history.acknowledged()
    log.info(
        "seed %d: %d kills, %d acknowledged, %d pushes, %d deliveries, slowest start %.2f s, most active %d",
        *(SEED, len(recoveries), acknowledged, len(history.pushes), len(history.deliveries), max(recoveries)),
        history.most_active,
    )
    assert not found, f"FLASHQ_SEED={SEED}: {len(found)} violations, such as {found[:5]}"
    assert history.most_active > 0
    assert {ack.outcome for ack in history.acks} >= {"ok", "already"}
    return acknowledged


def test_ready_soon_with_many_jobs(tmp_path: Path) -> None:
    """100,000 live jobs, killed: ready again within two seconds, and all of them are there."""
    with ServerProcess(tmp_path) as server:
        with server.client() as client:
            for first in range(0, 100_000, 10_000):
                client.ok(
                    "PUSHB",
                    queue="q",
                    jobs=[{"data": {"n": n, "text": "x" * 50}} for n in range(first, first + 10_000)],
                )
        # The best of three: what the machine does besides is no property of the server.
        assert min(server.restart().start_seconds for _ in range(3)) < READY_SECONDS
        with server.client() as client:
            assert client.ok("STATS")["queued"] == 100_000
            assert [job["data"]["n"] for job in client.ok("PULLB", queue="q", count=3)["jobs"]] == [0, 1, 2]
