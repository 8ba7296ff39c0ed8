"""Backups made under load, each restored and served: what they hold is the state of one moment.

``FLASHQ_BACKUPS`` sets how many, ``FLASHQ_SEED`` when.
"""

import logging
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from tests.crash import workload
from tests.crash.history import History
from tests.crash.planted import command
from tests.crash.restored import Restored, faults
from tests.crash.workload import Crowd, at_work, drain, look_for_trouble, set_limit, waits
from tests.fakes.http_client import HttpClient
from tests.fakes.postgres import Databases
from tests.fakes.server_process import COMMAND, LineClient, ServerProcess
from tools.postgres import installed

from flashq.model import Instant
from flashq.server.doctor import examine
from flashq.storage.backup import PART
from flashq.storage.open import reading_for

BACKUPS: Final = int(os.environ.get("FLASHQ_BACKUPS", "20"))
SEED: Final = int(os.environ.get("FLASHQ_SEED", "0")) or random.randrange(1, 10**6)
BALLAST: Final = 1_000
"""Completed jobs with results of 4 KB: so much there is to be copied that many commits come in between."""

log = logging.getLogger(__name__)


class Taken(NamedTuple):
    """A backup: its file, and when it was asked for and answered."""

    path: Path
    asked: float
    answered: float


class Loaded:
    """A server under load, and the backups that are made of it meanwhile."""

    def __init__(self, folder: Path, *, url: str | None = None, command: Sequence[str] = COMMAND) -> None:
        environment = {"BACKUP_KEEP": "0"}
        self.server = ServerProcess(folder / "live", url=url, unix=True, command=command, environment=environment)
        self._folder = folder
        self._histories: list[History] = []

    def back_up(self, count: int, take: Callable[["Loaded", int], Path]) -> list[Taken]:
        """Make so many backups while everybody pushes and completes."""
        taken = []
        with self.server as server:
            set_limit(server)
            self._put_ballast()
            crowd = Crowd(server, SEED)
            with at_work(crowd.clients):
                for number, wait in zip(range(count), waits(SEED, 0.02, 0.15), strict=False):
                    time.sleep(wait)  # the backup comes when it comes
                    asked = time.monotonic()
                    path = take(self, number)
                    taken.append(Taken(path, asked, time.monotonic()))
                    look_for_trouble(crowd.clients)
        self._histories = [client.history for client in crowd.clients]
        during = [self._during(each) for each in taken]
        log.info("seed %d: %d jobs acknowledged, answers during each backup: %s", SEED, crowd.done(), during)
        assert sum(map(bool, during)) > count // 2  # some are over before anybody is answered
        return taken

    def ask(self, _: int) -> Path:
        """Have the server make one."""
        with self.server.client(60) as client:
            return Path(client.ok("BACKUP")["backup"]["path"])

    def found_wrong(self, taken: Taken, url: str, folder: Path) -> list[str]:
        """What is wrong with a backup that was restored to a database, by the doctor and by what a server has of it."""
        reading = reading_for(url)
        try:
            findings = [finding for finding in examine(reading, Instant(0, 0)) if not finding.ok]
        finally:
            reading.close()
        if findings:
            return [f"{finding.check}: {finding.detail}" for finding in findings]
        with ServerProcess(folder, url=url) as server:
            worker = drain(server)
            with server.client() as client:
                next_id = client.ok("PUSH", queue="more", data=None)["id"]
        live = [(delivery.uid, delivery.id) for delivery in worker.history.deliveries]
        return faults(Restored(taken.asked, taken.answered, live, next_id), self._histories)

    def _put_ballast(self) -> None:
        with self.server.client() as client:
            client.ok("PUSHB", queue="ballast", jobs=[{"data": None}] * BALLAST)
            jobs = client.ok("PULLB", queue="ballast", count=BALLAST)["jobs"]
            client.ok("ACKB", ids=[job["id"] for job in jobs], results=["x" * 4_096] * BALLAST)

    def _during(self, taken: Taken) -> int:
        """How many operations were confirmed between question and answer."""
        return sum(
            taken.asked < each.ended < taken.answered
            for history in self._histories
            for each in (*history.pushes, *history.acks)
        )


@pytest.fixture(autouse=True)
def short_backlog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few jobs wait at any time: each backup is drained."""
    monkeypatch.setattr(workload, "BACKLOG", 2_000)


def restored(backup: Path, folder: Path) -> str:
    """The way back that the documentation tells; returns the URL."""
    data = folder / "data"
    data.mkdir(parents=True)
    shutil.copy(backup, data / "flashq.db")
    return f"sqlite:///{data}/flashq.db"


@pytest.mark.slow
@pytest.mark.timeout(60 + 10 * BACKUPS)
def test_backups_under_load(tmp_path: Path) -> None:
    """Each holds all that was confirmed before it was asked for, wholly and in order; it is sound and can be served."""
    loaded = Loaded(tmp_path)
    for number, taken in enumerate(loaded.back_up(BACKUPS, Loaded.ask)):
        folder = tmp_path / f"restored-{number}"
        found = loaded.found_wrong(taken, restored(taken.path, folder), folder)
        assert not found, f"FLASHQ_SEED={SEED}: {len(found)} faults, such as {found[:5]}"
        shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_dumps_of_postgres_under_load(tmp_path: Path, databases: Databases) -> None:
    """The same of what pg_dump makes while a server works on PostgreSQL."""
    with databases.fresh() as url:
        loaded = Loaded(tmp_path, url=url)
        dumps = loaded.back_up(max(3, BACKUPS // 5), lambda _, number: dump(url, tmp_path / f"{number}.sql"))
    for number, each in enumerate(dumps):
        with databases.fresh() as fresh:
            run("psql", "--quiet", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--file={each.path}", fresh)
            found = loaded.found_wrong(each, fresh, tmp_path / f"restored-{number}")
        assert not found, f"FLASHQ_SEED={SEED}: {len(found)} faults, such as {found[:5]}"


def dump(url: str, path: Path) -> Path:
    """Have PostgreSQL's own tool make a backup."""
    run("pg_dump", f"--file={path}", url)
    return path


def run(program: str, *words: str) -> None:
    """Run a program of PostgreSQL."""
    subprocess.run([installed() / "bin" / program, "--no-password", *words], check=True, stdout=subprocess.DEVNULL)


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["backups_miss_what_is_committed_meanwhile", "backups_are_copies_of_the_file"])
def test_a_careless_backup_is_noticed(tmp_path: Path, bug: str) -> None:
    """A copy that is made in pieces without SQLite, or whose finished pages are not kept up, is condemned."""
    loaded = Loaded(tmp_path, command=command(bug))
    wrong = []
    for number, taken in enumerate(loaded.back_up(3, Loaded.ask)):
        folder = tmp_path / f"restored-{number}"
        wrong += loaded.found_wrong(taken, restored(taken.path, folder), folder)
    log.info("found, for example: %s", wrong[:3])
    assert wrong


@pytest.fixture
def endless(tmp_path: Path) -> Iterator[tuple[ServerProcess, LineClient]]:
    """A server in the middle of a backup, and the client that waits for it."""
    with ServerProcess(tmp_path, command=command("backups_never_end")) as server, server.client() as client:
        client.ok("PUSH", queue="q", data=1)
        client.send("BACKUP")
        deadline = time.monotonic() + 10
        while not left(server):
            assert time.monotonic() < deadline
            time.sleep(0.001)
        yield server, client


def left(server: ServerProcess) -> list[str]:
    """The names of what is in the folder of backups."""
    folder = server.data / "backups"
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


@pytest.mark.slow
def test_one_at_a_time(endless: tuple[ServerProcess, LineClient]) -> None:
    """A second one is refused on every door, and everything else goes on; who asked may leave."""
    server, waiting = endless
    with server.client() as other, HttpClient(server.http_port) as web:
        assert other.refused("BACKUP") == ("limit_reached", "A backup is being made already (max 1 at once)")
        answer = web.ask("POST", "/server/backup")
        assert (answer.status, answer.json["code"]) == (429, "limit_reached")
        assert other.ok("PUSH", queue="q", data=2)["id"] == 2
        assert waiting.silent()
        waiting.close()
        assert other.refused("BACKUP")[0] == "limit_reached"


@pytest.mark.slow
def test_a_server_that_leaves_gives_it_up(endless: tuple[ServerProcess, LineClient]) -> None:
    """Who waits is told, nothing is left of it, and the server ends as ever."""
    server, waiting = endless
    server.signal()
    assert waiting.receive()["code"] == "shutting_down"
    assert server.wait() == 0
    assert left(server) == []


@pytest.mark.slow
def test_a_server_that_is_killed_leaves_no_backup(endless: tuple[ServerProcess, LineClient]) -> None:
    """What is left has another name, and the next start removes it."""
    server, _ = endless
    server.kill()
    (name,) = left(server)
    assert name.endswith(PART)
    server.start()
    assert left(server) == []
