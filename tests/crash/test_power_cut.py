"""The power of the disk is cut under a real server, again and again: what was told ok is there afterwards.

A killed process leaves its writes to the system; after a power cut there is only what was synced. So this is the test
of every sync that `tests/crash/test_kill.py` cannot see missing.

``FLASHQ_CUTS`` sets how often, ``FLASHQ_SEED`` when.
"""

import logging
import os
import random
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import apsw
import pytest
from tests.crash import planted
from tests.crash.history import Push, violations
from tests.crash.test_disk import Pusher
from tests.crash.workload import (
    ENDLESS,
    LIMIT,
    PLAIN,
    Client,
    Crowd,
    LineClient,
    at_work,
    drain,
    look_for_trouble,
    set_limit,
    waits,
)
from tests.fakes.loop_disk import LoopDisk
from tests.fakes.ports import kept_ports
from tests.fakes.server_process import COMMAND, ServerProcess, line

CUTS: Final = int(os.environ.get("FLASHQ_CUTS", "30"))
SEED: Final = int(os.environ.get("FLASHQ_SEED", "0")) or random.randrange(1, 10**6)
ROOT: Final = Path(__file__).parents[2]

DISK_MEBIBYTES: Final = 512
RELAXED_SECONDS: Final = 1.2
"""What relaxed durability may lose: a second between two syncs, and what the sync itself takes."""

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120 + 20 * CUTS)]


@contextmanager
def server_on_a_disk(
    folder: Path, *, command: Sequence[str] = COMMAND, **environment: str
) -> Iterator[tuple[ServerProcess, LoopDisk]]:
    """A server whose data is on a disk of its own. It is not started."""
    with LoopDisk(folder, mebibytes=DISK_MEBIBYTES) as disk:
        server = ServerProcess(folder, unix=True, environment=environment, before=disk.before, command=command)
        server.data = disk.mounted / "data"
        server.environment |= {"DATA_DIR": str(server.data), "PYTHONPATH": str(ROOT)}
        try:
            yield server, disk
        finally:
            server.kill()


def power_cut(server: ServerProcess, disk: LoopDisk) -> None:
    """Machine and disk stop at once; the disk comes back.

    The process goes first, by microseconds: otherwise it would see the disk fail, and could still say so.
    """
    server.signal(signal.SIGKILL)
    disk.cut()
    server.kill()
    disk.unmount()
    disk.mount()


def look_at_the_database(disk: LoopDisk, copies: Path) -> None:
    """What is on the disk must be a whole database before anybody touches it; so a copy is looked at."""
    shutil.rmtree(copies, ignore_errors=True)
    shutil.copytree(disk.folder / "data", copies)
    connection = apsw.Connection(str(copies / "flashq.db"))
    assert connection.pragma("integrity_check") == "ok"
    connection.close()


def test_cut_under_load(tmp_path: Path) -> None:
    """At random moments, and right behind an ok: nothing confirmed is lost, nothing happens twice, no damage."""
    dice = random.Random(SEED)
    with server_on_a_disk(tmp_path) as (server, disk):
        server.environment |= kept_ports()
        server.start()
        set_limit(server)
        crowd, last = Crowd(server, SEED), LastWord(server)
        with at_work(crowd.clients):
            for number, wait in zip(range(CUTS), waits(SEED, 0.05, 1.0), strict=False):
                time.sleep(wait)  # the fault comes when it comes
                if number % 2:
                    last.push(dice.randrange(1, 4))
                power_cut(server, disk)
                look_at_the_database(disk, tmp_path / "copy")
                look_for_trouble(crowd.clients)
                server.start()
        server.restart()
        history = crowd.history(drain(server), last)
    found = violations(history, LIMIT)
    log.info(
        "seed %d: %d cuts, %d acknowledged, %d pushes, %d of them right before a cut",
        *(SEED, CUTS, history.acknowledged(), len(history.pushes), len(last.history.pushes)),
    )
    assert not found, f"FLASHQ_SEED={SEED}: {len(found)} violations, such as {found[:5]}"
    assert history.acknowledged() > 200 * CUTS


class LastWord(Client):
    """A client that is told ok at the last moment. Not run as a thread."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(server.client, 0, lambda: 0)

    def push(self, count: int) -> None:
        """So many jobs, and not back before the last one is confirmed."""
        with self._connect() as client:
            pushes = [Push(f"last-{len(self.history.pushes)}-{n}", time.monotonic()) for n in range(count)]
            client.send_raw(b"".join(line("PUSH", queue=PLAIN, data=push.uid, **ENDLESS) for push in pushes))
            for push in pushes:
                push.id, push.ended = client.receive()["id"], time.monotonic()
        self.history.pushes += pushes


class Counted(Pusher):
    """Pushes, and keeps when it was told what."""

    def __init__(self, client: LineClient) -> None:
        super().__init__(client)
        self.told_at: dict[int, float] = {}

    def _take(self, answer: dict[str, object]) -> None:
        super()._take(answer)
        if answer["ok"]:
            self.told_at[self.confirmed[-1]] = time.monotonic()


def lost_by_a_cut(server: ServerProcess, disk: LoopDisk, seconds: float) -> list[float]:
    """Push for so long, cut, start again.

    Returns:
        How many seconds before the newest confirmation each lost job was confirmed. Before the cut itself it may be
        longer: a machine that stands still confirms nothing, and syncs nothing.
    """
    pushers = [Counted(server.client()) for _ in range(3)]
    for pusher in pushers:
        pusher.start()
    time.sleep(seconds)
    moment = time.monotonic()
    power_cut(server, disk)
    for pusher in pushers:
        pusher.join(10)
    server.start()
    with server.client() as client:
        there = set[int]()
        while jobs := client.ok("PULLB", queue="q", count=10_000, timeout=0)["jobs"]:
            there |= {job["id"] for job in jobs}
    told = {id: at for pusher in pushers for id, at in pusher.told_at.items()}
    assert len(told) > 100
    newest = min(moment, max(told.values()))
    return [newest - at for id, at in told.items() if id not in there]


def test_cut_with_relaxed_durability(tmp_path: Path) -> None:
    """What was confirmed 1.2 s before the newest job or earlier is there; what came later may be lost, and some is."""
    with server_on_a_disk(tmp_path, DURABILITY="relaxed") as (server, disk):
        server.start()
        assert server.mode.startswith("relaxed")
        lost = [
            age for _, wait in zip(range(4), waits(SEED, 0.5, 2.5), strict=False)
            for age in lost_by_a_cut(server, disk, wait)
        ]  # fmt: skip
    log.info("seed %d: relaxed, %d lost, the oldest %.2f s before the newest", SEED, len(lost), max(lost, default=0))
    assert max(lost, default=0) <= RELAXED_SECONDS, f"FLASHQ_SEED={SEED}"
    assert lost, "nothing was lost: the disk keeps what was not synced, and this test proves nothing"


@pytest.mark.parametrize("careless", ["the_log_is_synced_seldom", "the_log_is_never_synced"])
def test_servers_that_do_not_sync_lose(careless: str, tmp_path: Path) -> None:
    """The controls: servers that tell SQLite to sync less lose what they confirmed, and the harness sees it."""
    with server_on_a_disk(tmp_path, command=planted.command(careless)) as (server, disk):
        server.start()
        lost = lost_by_a_cut(server, disk, 0.5)
    log.info("%s: lost %d", careless, len(lost))
    assert lost
