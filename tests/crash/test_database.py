"""The database of a running server dies, hangs, or is cut off in the middle of a commit, again and again.

Clients are told within seconds that nobody knows; when the database is back, so is the server, without having lost,
invented or repeated anything. ``FLASHQ_DATABASE_FAULTS`` sets how often, ``FLASHQ_SEED`` which and when.
"""

import logging
import os
import random
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from tests.crash.database_faults import DatabaseFaults
from tests.crash.history import History, Push, violations
from tests.crash.planted import command
from tests.crash.workload import ENDLESS, LIMIT, PLAIN, Client, Crowd, WebClient, at_work, drain, set_limit
from tests.fakes.database_proxy import DatabaseProxy
from tests.fakes.ports import kept_ports
from tests.fakes.postgres import BreakableCluster, scratch
from tests.fakes.second_try import second_try
from tests.fakes.server_process import COMMAND, Answer, EndOfAnswers, LineClient, ServerProcess
from tests.fakes.tools import needs
from tools.postgres import USER, query

FAULTS: Final = int(os.environ.get("FLASHQ_DATABASE_FAULTS", "20"))
SEED: Final = int(os.environ.get("FLASHQ_SEED", "0")) or random.randrange(1, 10**6)

ANSWER_SECONDS: Final = 5
"""The longest that a client waits for an answer, whatever it is."""

RESUME_SECONDS: Final = 3
"""The longest until something is confirmed again after the database can be used again."""

SLACK_SECONDS: Final = 1.5
"""For a machine that is busy with other things."""

CHANCES: Final = 5
"""How often a commit is made to be lost: what had just been synced is not, and what nobody was told nobody misses."""

EXIT_STORAGE: Final = 74
DATABASE: Final = "flashq"

log = logging.getLogger(__name__)


NO_ANSWERS: Final = ("storage_error", "shutting_down")
"""Refusals of a server whose database is away, or that ends because of it. It may have happened, or may still."""


class Unsure(EndOfAnswers):
    """Such a refusal: as good as no answer."""


class _Doubting(LineClient):
    """A client for which such an answer is none."""

    def receive(self) -> Answer:
        answer = super().receive()
        if answer.get("code") in NO_ANSWERS:
            raise Unsure
        return answer


class _DoubtingWeb(WebClient, _Doubting):
    """The same over HTTP."""


def doors(server: ServerProcess) -> list[Callable[[], LineClient]]:
    """The three ways in."""
    return [
        lambda: _Doubting(("127.0.0.1", server.port)),
        lambda: _Doubting(str(server.socket_path)),
        lambda: _DoubtingWeb(server.http_port),
    ]


class Felt(NamedTuple):
    """What clients have felt of a fault: seconds of the slowest answer, and from its end to a confirmation."""

    slowest: float
    resumed: float

    @property
    def in_time(self) -> bool:
        """Whether that is what we promise."""
        return self.slowest < ANSWER_SECONDS + SLACK_SECONDS and self.resumed <= RESUME_SECONDS + SLACK_SECONDS


class Canary(Client):
    """Pushes one job after the other and looks at the clock.

    Attributes:
        slowest: seconds that an answer took, at the most, since it was last set to none.
        confirmed_at: when the last ok came.
        answers: how often which answer came.
    """

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(server.client, SEED + 99, lambda: 0)
        self._server = server
        self.slowest = 0.0
        self.confirmed_at = 0.0
        self.answers: Counter[str] = Counter()

    def work(self, client: LineClient) -> None:
        """One push."""
        push = Push(f"canary-{len(self.history.pushes)}", time.monotonic())
        self.history.pushes.append(push)
        answer = client.ask("PUSH", queue=PLAIN, data=push.uid, **ENDLESS)
        ended = time.monotonic()
        self.slowest = max(self.slowest, ended - push.began)
        self.answers[answer.get("code", "ok")] += 1
        if answer["ok"]:
            push.id, push.ended = answer["id"], ended
            self.confirmed_at = ended
        else:
            assert answer["code"] in NO_ANSWERS, answer
        self._stop_asked.wait(0.01)

    def feel(self, fault: Callable[[], None], wait_s: float) -> Felt:
        """Wait so long, play a fault, and wait until it is over."""
        self.slowest = 0.0
        time.sleep(wait_s)  # the fault comes when it comes
        fault()
        resumed = self.await_confirmation(time.monotonic())
        return Felt(self.slowest, resumed)

    def survives(self) -> bool:
        """Wait until something is confirmed again, or the server has ended. Returns whether it goes on."""
        began = time.monotonic()
        while self._server.running and self.confirmed_at < began:
            assert time.monotonic() < began + 10 * RESUME_SECONDS, "it neither ends nor confirms anything"
            time.sleep(0.005)
        return self._server.running

    def await_confirmation(self, after: float) -> float:
        """Wait until something that ended after this moment was confirmed. Returns how long that took, in seconds."""
        deadline = after + 10 * RESUME_SECONDS
        while self.confirmed_at < after:
            assert self.trouble is None, self.trouble
            assert time.monotonic() < deadline, "nothing was confirmed any more"
            time.sleep(0.005)
        return self.confirmed_at - after


class Ordeal:
    """A server whose database is not to be relied on."""

    def __init__(self, folder: Path, cluster: BreakableCluster, proxy: DatabaseProxy, command: Sequence[str]) -> None:
        """Nothing runs until `loaded`."""
        query(cluster.url, f"CREATE DATABASE {DATABASE}")
        self.cluster = cluster
        self.proxy = proxy
        self.server = ServerProcess(
            folder, url=proxy.url(DATABASE, USER), environment=kept_ports(), unix=True, command=command
        )
        self.history = History()

    @contextmanager
    def loaded(self) -> Iterator[Canary]:
        """Clients work as long as this is entered; then they are stopped, and what they saw is the history."""
        self.server.start()
        set_limit(self.server)
        crowd, canary = Crowd(self.server, SEED, doors(self.server)), Canary(self.server)
        with at_work((canary, *crowd.clients)):
            canary.await_confirmation(time.monotonic())
            yield canary
        self.history = crowd.history(canary)

    def wrong(self) -> list[str]:
        """Start the server anew, finish everything that is left, and say what must not have happened."""
        self.server.restart()  # attempts that nobody will finish are ready again
        worker = drain(self.server)
        assert self.server.stop() == 0
        return violations(History.of_all((self.history, worker.history)), LIMIT)


@contextmanager
def ordeal(folder: Path, command: Sequence[str] = COMMAND, disk: Path | None = None) -> Iterator[Ordeal]:
    """A cluster of its own, the way to it, and a server. ``disk``: where the cluster is; None: on the system's."""
    with scratch() as place, BreakableCluster(disk or place) as cluster, DatabaseProxy(cluster.socket_path) as proxy:
        found = Ordeal(folder, cluster, proxy, command)
        try:
            yield found
        finally:
            found.server.kill()


@pytest.mark.slow
@pytest.mark.timeout(120 + 20 * FAULTS)
def test_database_faults_under_load(tmp_path: Path) -> None:
    """Every fault in turn: the server stays, answers in time, goes on soon, and everything confirmed is done once."""
    dice = random.Random(SEED)
    with ordeal(tmp_path) as it:
        faults = DatabaseFaults(it.cluster, it.proxy, DATABASE, dice)
        kinds = [dice.sample(faults.every_kind(), len(faults.every_kind())) for _ in range(1 + FAULTS // 15)]
        felt: dict[str, Felt] = {}
        with it.loaded() as canary:
            pid = it.server.pid
            for number, fault in enumerate(list(chain.from_iterable(kinds))[:FAULTS], 1):
                name = f"{number} {fault.__name__}"
                log.info("seed %d, fault %s", SEED, name)
                feel = partial(canary.feel, fault, dice.uniform(0.1, 0.7))
                felt[name] = second_try(feel, lambda felt: felt.in_time)
        assert (it.server.running, it.server.pid) == (True, pid), it.server.errors()[-2_000:]
        found = it.wrong()
        acknowledged = it.history.acknowledged()
        log.info(
            "seed %d: %d faults, %d acknowledged, canary %s, slowest answer and return %s",
            *(SEED, FAULTS, acknowledged, dict(canary.answers), [max(all) for all in zip(*felt.values(), strict=True)]),
        )
        assert not found, f"FLASHQ_SEED={SEED}: {len(found)} violations, such as {found[:5]}"
        late = {name: each for name, each in felt.items() if not each.in_time}
        assert not late, f"FLASHQ_SEED={SEED}: {late}"
        assert acknowledged > 500 * FAULTS
        assert "Traceback" not in it.server.errors()


@pytest.mark.slow
def test_a_server_that_guesses_is_noticed(tmp_path: Path) -> None:
    """One that takes a lost connection for a success does not pass: the net catches fish."""

    def found(number: int) -> list[str]:
        with ordeal(tmp_path / f"{number}", command("lost_commits_are_believed")) as it:
            with it.loaded():
                faults = DatabaseFaults(it.cluster, it.proxy, DATABASE, random.Random(SEED))
                faults.request_lost()
                time.sleep(1)
            it.server.kill()
            for mark in it.server.data.glob("*.highwater"):  # or the next start knew by itself
                mark.unlink()
            return it.wrong()

    # What is wrong depends on what the commit held: acknowledgements that are lost bring jobs back, pushes do not.
    assert any(found(number) for number in range(CHANCES))


@pytest.mark.slow
def test_a_database_that_does_not_sync_is_noticed(tmp_path: Path) -> None:
    """Relaxed commits die with the database, and the server that finds them gone ends instead of going on."""
    with ordeal(tmp_path) as it:
        it.server.environment["DURABILITY"] = "relaxed"
        query(it.cluster.url, "ALTER SYSTEM SET wal_writer_delay = '10s'")  # or it may have synced all there is
        query(it.cluster.url, "SELECT pg_reload_conf()")
        with it.loaded() as canary:
            for _ in range(CHANCES):
                it.cluster.kill()
                it.cluster.start()
                if not canary.survives():
                    break
            assert it.server.wait() == EXIT_STORAGE
        assert "back in time" in it.server.errors()
        assert it.wrong()


@pytest.mark.slow
@pytest.mark.parametrize("serving", [True, False], ids=["while it serves", "while it is stopped"])
def test_a_database_that_is_restored_from_an_older_copy(tmp_path: Path, serving: bool) -> None:
    """It is refused, by the server that knew the newer one and by the next one on the same folder."""
    with ordeal(tmp_path) as it:
        copy = it.cluster.folder / "copy"
        with it.loaded() as canary:
            it.cluster.stop()
            subprocess.run(["cp", "-a", it.cluster.data, copy], check=True)
            it.cluster.start()
            canary.await_confirmation(time.monotonic())
            if not serving:
                assert it.server.stop() == 0
            it.cluster.stop()
            shutil.rmtree(it.cluster.data)
            copy.rename(it.cluster.data)
            it.cluster.start()
            if serving:
                assert it.server.wait() == EXIT_STORAGE
                assert "back in time" in it.server.errors()
        code, said = it.server.run_to_end()
        assert code == 1
        assert "back in time" in said
        assert "Traceback" not in it.server.errors()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk with room for a cluster and little more."""
    needs(os.geteuid() == 0 and shutil.which("mount") is not None, "root and mount, for a small disk")
    with scratch() as folder:
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", folder], capture_output=True)
        needs(mounted.returncode == 0, f"the right to mount: {mounted.stderr.decode()}")
        folder.chmod(0o711)
        try:
            yield folder
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_database_whose_disk_is_full(tmp_path: Path, small_disk: Path) -> None:
    """Nobody is told ok; with more room all goes on, and nothing confirmed is lost."""
    with ordeal(tmp_path, disk=small_disk / "cluster") as it:
        with it.loaded() as canary:
            ballast = small_disk / "ballast"
            with ballast.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space left"):
                file.writelines(repeat(bytes(1 << 20)))
            deadline = time.monotonic() + 60
            while not canary.answers["storage_error"]:
                assert time.monotonic() < deadline, "the disk was never full"
                time.sleep(0.01)
            ballast.unlink()
            freed, deadline = time.monotonic(), time.monotonic() + 60
            while canary.confirmed_at < freed:
                assert canary.trouble is None, canary.trouble
                assert time.monotonic() < deadline, "nothing was confirmed any more"
                if not it.cluster.running:  # a log that cannot be written may end all of it, sooner or later
                    it.cluster.start()
                time.sleep(0.01)
            assert it.server.running
        found = it.wrong()
        assert not found, f"{len(found)} violations, such as {found[:5]}"
