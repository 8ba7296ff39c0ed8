"""A disk that says yes and cannot: blocks fail when the system writes them back, and afterwards look written.

After a failed sync the system marks the pages clean: they read as they were meant, a second sync succeeds, and the
disk holds something else. Who trusts that has a hole in the middle of the log, which opens at the next power cut. Here
this happens for real: the disk lies in a file that has no room to grow, runs full under a server, and is given room
again while the server is down.

``FLASHQ_SEED`` repeats how much room there is.
"""

import logging
import os
import random
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.crash import planted
from tests.crash.life import EXIT_STORAGE
from tests.fakes.loop_disk import LoopDisk
from tests.fakes.server_process import COMMAND, EndOfAnswers, ServerProcess, line

SEED: Final = int(os.environ.get("FLASHQ_SEED", "0")) or random.randrange(1, 10**6)
ROOT: Final = Path(__file__).parents[2]

DISK_MEBIBYTES: Final = 256
ROOM_MEBIBYTES: Final = range(20, 44)
"""Of what carries the disk: full in the first log, while it is moved for the first time, or after that."""

WINDOW: Final = 10
JOB_BYTES: Final = 10_000
MOST: Final = 5_000
"""More jobs than there is room for."""
MORE: Final = 200
"""Jobs that are confirmed by the server that comes after."""

log = logging.getLogger(__name__)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


class Full:
    """One disk that runs full under one server.

    Attributes:
        told: what was confirmed: job -> what it carries.
    """

    def __init__(self, folder: Path, disk: LoopDisk, careless: str = "") -> None:
        self._disk, self._careless = disk, careless
        data = {"DATA_DIR": str(disk.mounted / "data"), "PYTHONPATH": str(ROOT)}
        command = planted.command(careless) if careless else COMMAND
        self._server = ServerProcess(folder, environment=data, before=disk.before, command=command)
        self.told: dict[int, str] = {}

    def run(self) -> str:
        """Run full, be healed, start again, stop, start from what is on the disk.

        Returns:
            ``refused``: a start said that something is wrong. ``lost``, ``kept``: otherwise.
        """
        server = self._server
        try:
            server.start()
            self._push(MOST)
            if self._careless:
                server.kill()  # it would go on for ever
            else:
                assert server.wait(30) == EXIT_STORAGE, server.errors()[-2_000:]
            self._disk.give_room(2 * DISK_MEBIBYTES)
            if not self._starts():
                return "refused"
            if not self._kept():
                return "lost"
            self._push(MORE)
            server.kill()
            self._disk.unmount()  # the cache is gone now, and with it what only looked written
            self._disk.mount()
            if not self._starts():
                return "refused"
            return "kept" if self._kept() else "lost"
        finally:
            server.kill()

    def _kept(self) -> bool:
        """Whether everything that was confirmed is there, byte for byte."""
        there = {}
        with self._server.client() as client:
            while jobs := client.ok("PULLB", queue="q", count=500, timeout=0)["jobs"]:
                there |= {job["id"]: job["data"] for job in jobs}
        return self.told.items() <= there.items()

    def _starts(self) -> bool:
        """Whether it starts. If it does not, it says in a sentence why."""
        before = len(self._server.errors())
        try:
            self._server.start()
        except AssertionError:
            said = self._server.errors()[before:]
            assert "Traceback" not in said
            assert "flashq: " in said
            return False
        return True

    def _push(self, most: int) -> None:
        """Push until it fails, or so many."""
        with self._server.client() as client:
            try:
                for first in range(len(self.told), len(self.told) + most, WINDOW):
                    carried = [f"{n} ".ljust(JOB_BYTES, "x") for n in range(first, first + WINDOW)]
                    client.send_raw(b"".join(line("PUSH", queue="q", data=data) for data in carried))
                    for data in carried:
                        answer = client.receive()
                        if not answer["ok"]:
                            # The last: it came when the server had failed already, while nothing was asked of it.
                            assert answer["code"] in ("storage_error", "storage_full", "shutting_down")
                            return
                        self.told[answer["id"]] = data
            except (EndOfAnswers, OSError):
                return


def ends(folder: Path, rooms: Iterable[int], *, journal: bool, careless: str = "") -> Iterator[str]:
    """How runs end, with so much room each."""
    for number, room in enumerate(rooms):
        place = folder / f"{number}"
        place.mkdir()
        with LoopDisk(place, mebibytes=DISK_MEBIBYTES, room_mebibytes=room, journal=journal) as disk:
            full = Full(place, disk, careless)
            end = full.run()
        log.info(
            "seed %d: room for %d MiB, journal %s %s: %d told, %s", SEED, room, journal, careless, len(full.told), end
        )
        yield end


@pytest.mark.parametrize("journal", [False, True], ids=["without a journal", "with a journal"])
def test_a_disk_that_lied_and_was_healed(journal: bool, tmp_path: Path) -> None:
    """Five disks: each start that follows has everything that was confirmed, byte for byte, or refuses."""
    rooms = random.Random(SEED).sample(ROOM_MEBIBYTES, 5)
    found = list(ends(tmp_path, rooms, journal=journal))
    assert "lost" not in found, f"FLASHQ_SEED={SEED}: {found}"
    assert "kept" in found, f"FLASHQ_SEED={SEED}: none of them could be used again"


def test_a_server_that_goes_on_is_noticed(tmp_path: Path) -> None:
    """The control: who takes a commit that failed for done loses, and this harness sees it."""
    assert "lost" in ends(tmp_path, ROOM_MEBIBYTES[::12], journal=False, careless="failed_commits_pass_for_done")
