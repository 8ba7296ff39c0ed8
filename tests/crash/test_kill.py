"""kill -9 of a server under load, again and again: nothing confirmed is lost, nothing happens twice.

``FLASHQ_KILLS`` sets how often, ``FLASHQ_SEED`` when.
"""

import logging
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
from tests.crash.history import History, untold, violations
from tests.crash.planted import command
from tests.crash.workload import LIMIT, Crowd, at_work, drain, histories, look_for_trouble, set_limit, waits
from tests.fakes.ports import kept_ports
from tests.fakes.server_process import COMMAND, EndOfAnswers, ServerProcess

from flashq.storage.open import storage_for

KILLS: Final = int(os.environ.get("FLASHQ_KILLS", "40"))
SEED: Final = int(os.environ.get("FLASHQ_SEED", "0")) or random.randrange(1, 10**6)
SURELY: Final = 10
"""Of so many kills one comes between an acknowledgement and its answer."""

READY_SECONDS: Final = 2
ASKED: Final = 5_000
"""Jobs whose history is looked at: a second or two."""

log = logging.getLogger(__name__)


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * KILLS)
def test_killed_under_load(tmp_path: Path) -> None:
    """Many kills (up to twice as many on a slow machine): everything confirmed is done once, under a real load."""
    enough = 5_000 * KILLS
    assert Ordeal(tmp_path).run(KILLS, enough) >= enough


def test_killed_three_times(tmp_path: Path) -> None:
    """The same, short enough for every day."""
    assert Ordeal(tmp_path).run(3) > 1_000


@pytest.mark.slow
def test_killed_with_relaxed_durability(tmp_path: Path) -> None:
    """What was handed to the system survives the death of the server, though not that of the machine."""
    assert Ordeal(tmp_path, DURABILITY="relaxed").run(5) > 1_000


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A database of each kind; None: SQLite in the server's folder."""
    if request.param == "sqlite":
        yield None
    else:
        with request.getfixturevalue("databases").fresh() as fresh:
            yield fresh


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_killed_while_history_is_kept(tmp_path: Path, url: str | None) -> None:
    """The history of each job tells what the clients saw of it, and nothing that never happened."""
    ordeal = Ordeal(tmp_path, url=url, AUDIT="1")
    assert ordeal.run(max(3, KILLS // 8)) > 1_000
    ordeal.check_histories()


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["answers_leave_before_the_disk", "the_tail_is_skipped"])
def test_a_planted_bug_is_noticed(tmp_path: Path, url: str | None, bug: str) -> None:
    """A server that breaks its promise does not pass the ordeal that others pass.

    In which way chance decides: the net catches fish, a start finds that the journal does not add up, or the database
    refuses a second job with the same id.
    """
    ordeal = Ordeal(tmp_path, url=url, command=command(bug))
    with pytest.raises((AssertionError, EndOfAnswers, ConnectionError)):  # it may also end while it is drained
        ordeal.run(8)


@pytest.mark.slow
def test_a_history_with_holes_is_noticed(tmp_path: Path) -> None:
    """Nor does one that forgets what it should remember of a job."""
    ordeal = Ordeal(tmp_path, AUDIT="1", command=command("some_history_is_lost"))
    ordeal.run(2)
    with pytest.raises(AssertionError, match="histories that are wrong, such as"):
        ordeal.check_histories()


class Ordeal:
    """A server that is killed under load.

    Attributes:
        history: what the clients saw, once it is over.
    """

    def __init__(
        self, folder: Path, *, url: str | None = None, command: Sequence[str] = COMMAND, **environment: str
    ) -> None:
        """Start the server with these variables; ``url``: of its database, None: SQLite."""
        self.history = History()
        self._dice = random.Random(SEED)
        self._server = ServerProcess(
            folder, url=url, unix=True, environment=environment | kept_ports(), command=command
        )
        self._server.start()
        assert self._server.mode.startswith(environment.get("DURABILITY", "full"))

    def run(self, kills: int, enough: int = 0) -> int:
        """Load it, kill it so many times and until enough is done, drain what is left and check.

        Returns:
            How many jobs were acknowledged.
        """
        with self._server as server:  # which runs no longer, however this ends
            return self._run(server, kills, enough)

    def _run(self, server: ServerProcess, kills: int, enough: int) -> int:
        set_limit(server)
        crowd = Crowd(server, SEED)
        recoveries = []
        with at_work(crowd.clients):
            for number, wait in zip(range(2 * kills), waits(SEED, 0.05, 1.5), strict=False):
                if number >= kills and crowd.done() >= enough:
                    break
                time.sleep(wait)  # the fault comes when it comes
                server.kill()
                look_for_trouble(crowd.clients)
                if number % 3 == 2:
                    self._kill_while_it_recovers()
                server.start()
                recoveries.append(server.start_seconds)
        server.restart()  # attempts that nobody will finish are ready again
        worker = drain(server)
        self.history = history = crowd.history(worker)
        server.stop()
        acknowledged = history.acknowledged()
        log.info(
            "seed %d: %d kills, %d acknowledged, %d pushes, %d deliveries, slowest start %.2f s, most active %d",
            *(SEED, len(recoveries), acknowledged, len(history.pushes), len(history.deliveries), max(recoveries)),
            history.most_active,
        )
        found = violations(history, LIMIT)
        assert not found, f"FLASHQ_SEED={SEED}: {len(found)} violations, such as {found[:5]}"
        assert history.most_active > 0
        outcomes = {ack.outcome for ack in history.acks}
        assert "ok" in outcomes
        assert "already" in outcomes or kills < SURELY
        return acknowledged

    def _kill_while_it_recovers(self) -> None:
        """In the second half of a start: the first goes by before the database is touched."""
        self._server.launch()
        time.sleep(self._server.start_seconds * self._dice.uniform(0.5, 1.0))
        self._server.kill()

    def check_histories(self) -> None:
        """Compare what the server tells of some thousands of jobs with what the clients saw."""
        known = sorted(self.history.ids())
        fold(self._server.url, self._server.data)
        asked = self._dice.sample(known, min(len(known), ASKED)) + [known[-1] + more for more in range(1, 100)]
        with self._server as server:
            told = histories(server, asked)
        found = untold(self.history, told)
        assert not found, f"FLASHQ_SEED={SEED}: {len(found)} histories that are wrong, such as {found[:5]}"


def fold(url: str, folder: Path) -> None:
    """Bring the journal into the tables, where histories are found without reading all of it."""
    storage = storage_for(url, durability="full", steady_ms=lambda: 0, folder=folder)
    assert storage is not None
    storage.open()
    list(storage.load().jobs)
    while storage.tidy(idle=True):
        pass
    storage.close()


@pytest.mark.slow
@pytest.mark.alone
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
        # Once in three times: what the machine does besides is no property of the server.
        assert any(server.restart().start_seconds < READY_SECONDS for _ in range(3))
        with server.client() as client:
            assert client.ok("STATS")["queued"] == 100_000
            assert [job["data"]["n"] for job in client.ok("PULLB", queue="q", count=3)["jobs"]] == [0, 1, 2]
