"""What can happen to a PostgreSQL that a server works with: as many ways as this machine can act out."""

import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fakes.database_proxy import Cut, DatabaseProxy
from tests.fakes.postgres import BreakableCluster
from tests.fakes.tools import needs
from tools.postgres import of_database, query

STRIKE_SECONDS: Final = 20
"""In which a server under load sends a group of records, even if it is away just now."""

SLOW_SYNC_MS: Final = 250


class DatabaseFaults:
    """A cluster, the way to it, and dice. Each fault is over when its method returns."""

    def __init__(self, cluster: BreakableCluster, proxy: DatabaseProxy, database: str, dice: random.Random) -> None:
        """Args: ``database``: its name."""
        self._cluster = cluster
        self._proxy = proxy
        self._url = of_database(cluster.url, database)
        self._dice = dice

    def every_kind(self) -> list[Callable[[], None]]:
        """All faults, in an order of their own."""
        return [
            self.killed,
            self.stopped_in_an_emergency,
            self.restarted,
            self.down_for_a_while,
            self.backends_ended,
            self.cut,
            self.request_lost,
            self.half_a_request_lost,
            self.answer_lost,
            self.frozen,
            self.slow_network,
            self.paused,
            self.lease_locked,
            self.journal_locked,
            self.slow_syncs,
        ]

    def killed(self) -> None:
        """All its processes die; it recovers from its log."""
        self._cluster.kill()
        self._cluster.start()

    def stopped_in_an_emergency(self) -> None:
        """Everybody is cut off; it recovers from its log."""
        self._cluster.stop_immediate()
        self._cluster.start()

    def restarted(self) -> None:
        """In good order, as after a change of its settings."""
        self._cluster.restart()

    def down_for_a_while(self) -> None:
        """Longer than clients wait for an answer, and than a lease holds."""
        self._cluster.stop()
        time.sleep(self._dice.uniform(5, 7))
        self._cluster.start()

    def backends_ended(self) -> None:
        """An administrator ends every connection of the server."""
        query(self._url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'flashq'")

    def cut(self) -> None:
        """The network resets every connection."""
        self._proxy.cut()

    def request_lost(self) -> None:
        """A commit never arrives."""
        self._strike(Cut.BEFORE)

    def half_a_request_lost(self) -> None:
        """A commit arrives in half."""
        self._strike(Cut.WITHIN)

    def answer_lost(self) -> None:
        """A commit is done and nobody learns of it."""
        self._strike(Cut.AFTER)

    def frozen(self) -> None:
        """The network swallows everything for a while and closes nothing."""
        self._proxy.freeze()
        time.sleep(self._dice.uniform(0.5, 8))
        self._proxy.thaw()

    def slow_network(self) -> None:
        """Each way takes a fifth of a second."""
        self._proxy.delay(0.2)
        time.sleep(self._dice.uniform(1, 3))
        self._proxy.delay(0)

    def paused(self) -> None:
        """The machine of the database stands still and goes on."""
        self._cluster.pause()
        time.sleep(self._dice.uniform(0.5, 8))
        self._cluster.resume()

    def lease_locked(self) -> None:
        """Somebody holds on to the row that every commit looks at."""
        self._hold("SELECT FROM flashq.lease FOR UPDATE")

    def journal_locked(self) -> None:
        """Somebody holds on to the table that every commit writes to, as a hasty change of a schema would."""
        self._hold("LOCK TABLE flashq.journal IN ACCESS EXCLUSIVE MODE")

    def slow_syncs(self) -> None:
        """Every sync of the database's disk takes a quarter of a second, for a while."""
        needs(shutil.which("strace") is not None, "strace")
        calls = "fsync,fdatasync"
        command = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}"]
        command += ["-e", f"inject={calls}:delay_exit={SLOW_SYNC_MS * 1000}"]
        for pid in self._cluster.processes():
            command += ["-p", str(pid)]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as tracer:
            try:
                self._await_traced(tracer)
                time.sleep(self._dice.uniform(1, 3))
            finally:
                tracer.terminate()

    def _await_traced(self, tracer: subprocess.Popen[bytes]) -> None:
        traced = re.compile(rf"^TracerPid:\s+{tracer.pid}$", re.MULTILINE)
        status = Path(f"/proc/{self._cluster.pid}/status")
        deadline = time.monotonic() + STRIKE_SECONDS
        while not traced.search(status.read_text()):
            needs(tracer.poll() is None, "the right to trace another process")
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def _strike(self, cut: Cut) -> None:
        assert self._proxy.arm(cut).wait(STRIKE_SECONDS), "the server sent nothing to lose"

    def _hold(self, lock: str) -> None:
        seconds = self._dice.uniform(0.5, 6)
        query(self._url, f"BEGIN; {lock}; SELECT pg_sleep({seconds:.2f}); COMMIT")
