"""PostgreSQL for tests: a server that all tests of a process share, and one that a test may break.

Without a word it is a cluster of our own (`tools.postgres`), in memory where the system has a folder there: no power
is cut in these tests, and hundreds of histories are played. ``TEST_DATABASE_URL`` names another server instead, whose
role must be allowed to create databases.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from tools.postgres import Cluster, of_database, query

from flashq.storage import postgres_lease as lease
from flashq.storage.postgres_schema import migrate
from flashq.storage.postgres_session import Session

ENOUGH_BYTES: Final = 4 * 1024**3
"""Room that a folder in memory must have. Containers often have 64 MiB, which is about one empty cluster."""

_numbers: Final = count(1)


class Databases:
    """A server on which tests make databases of their own.

    Attributes:
        url: of a database that is there already.
    """

    def __init__(self, url: str) -> None:
        self.url = url

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of an empty database, dropped in the end whoever still uses it."""
        name = f"flashq_test_{os.getpid()}_{next(_numbers)}"
        query(self.url, f"CREATE DATABASE {name}")
        try:
            yield of_database(self.url, name)
        finally:
            query(self.url, f"DROP DATABASE {name} WITH (FORCE)")

    @contextmanager
    def owned(self) -> Iterator[Session]:
        """A session of the owner of a fresh database that has our tables."""
        with self.fresh() as url, closing(Session(url)) as session:
            session.connect()
            migrate(session)
            lease.take(session, "me", "here", lambda _: None)
            yield session


@contextmanager
def databases() -> Iterator[Databases]:
    """The server that ``TEST_DATABASE_URL`` names, or one of our own."""
    given = os.environ.get("TEST_DATABASE_URL")
    if given:
        yield Databases(given)
    else:
        with scratch(in_memory=True) as folder, BreakableCluster(folder) as cluster:
            yield Databases(cluster.url)


@contextmanager
def scratch(*, in_memory: bool = False) -> Iterator[Path]:
    """A folder with a short name, which a socket needs, that others can reach, which those of pytest are not."""
    fast = Path("/dev/shm")
    where = fast if in_memory and fast.is_dir() and shutil.disk_usage(fast).free > ENOUGH_BYTES else None
    folder = Path(tempfile.mkdtemp(prefix="flashq-test-", dir=where))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


class BreakableCluster(Cluster):
    """A cluster with what happens to one. Linux only: the processes are found under /proc."""

    def __exit__(self, *_: object) -> None:
        """End it at once: nobody needs its data."""
        self.resume()
        self.stop(signal.SIGQUIT)

    def kill(self) -> None:
        """All its processes die at once, as with the machine, only that the system still writes what it was given."""
        self._tell_all(signal.SIGKILL)
        self._process.wait()

    def stop_immediate(self) -> None:
        """Its own emergency stop: clients are cut off, nothing is written, the next start recovers."""
        self.stop(signal.SIGQUIT)

    def restart(self) -> None:
        """Stop it in good order, which cuts clients off, and start it again."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """It answers no more and closes nothing, like a machine that hangs."""
        self._tell_all(signal.SIGSTOP)

    def resume(self) -> None:
        """It goes on as if nothing had been."""
        if self.running:
            self._tell_all(signal.SIGCONT)

    def processes(self) -> list[int]:
        """Its processes, the first one first."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return [self.pid, *map(int, children.split())]

    def _tell_all(self, number: signal.Signals) -> None:
        # Halted first, it starts nobody in the place of those that die, and nobody is born while we look.
        os.kill(self.pid, signal.SIGSTOP)
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] not in "Tt":
            time.sleep(0.001)
        for pid in reversed(self.processes()):
            os.kill(pid, number)
