"""Starting and stopping: one clear line and the right exit code when it cannot be, nothing lost when told to go."""

import json
import os
import signal
import socket
import sqlite3
import stat
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.fakes.server_process import MEMORY, EndOfAnswers, LineClient, ServerProcess

from flashq.config import VARIABLES
from flashq.storage.postgres import START_SECONDS

EXIT_CONFIG = 1


def refuses(server: ServerProcess, *words: str) -> str:
    """The server does not start; it says one line with these words, and exits with 1."""
    code, said = server.run_to_end()
    assert code == EXIT_CONFIG, said
    assert said.count("\n") == 1, said
    assert said.startswith("flashq: "), said
    assert "Traceback" not in said
    for word in words:
        assert word in said
    return said


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


# --- settings ---

WRONG_VALUES: list[tuple[str, str]] = [
    ("HOST", ""),
    ("HOST", "no such host"),
    ("HOST", "203.0.113.77"),
    ("HOST", "x" * 300),
    *(("PORT", value) for value in ("", "x", "-1", "65536", "1.5", "0x10", "99999999999999999999")),
    ("UNIX_SOCKET", "/nowhere/at/all.sock"),
    ("UNIX_SOCKET", "/tmp/" + "x" * 200),
    ("DATA_DIR", ""),
    ("DATA_DIR", "/proc/nowhere"),
    ("DATA_DIR", "/dev/null"),
    *(
        ("DATABASE_URL", value)
        for value in ("nonsense", "mysql://user:hidden@host/x", "sqlite://", "sqlite:///", "memory:/", "MEMORY://x")
    ),
    *(("DURABILITY", value) for value in ("", "none", "full,relaxed")),
    *((name, value) for name in ("HTTP", "WEBHOOK_ALLOW_PRIVATE", "AUDIT") for value in ("", "maybe", "2")),
    *((name, value) for name in ("AUDIT_KEEP_DAYS", "AUDIT_MAX_ROWS") for value in ("", "0", "x", "-1")),
    ("BACKUP_DIR", ""),
    *(("BACKUP_KEEP", value) for value in ("", "x", "-1", "2147483649")),
    *(("HTTP_PORT", value) for value in ("", "x", "-1", "65536")),
    *(("TOKENS_FILE", value) for value in ("", "/nowhere/at/all.json", "/dev/null")),
    *((name, "/nowhere/at/all.pem") for name in ("TLS_CERT", "TLS_KEY")),
    *(("AUTH_TOKENS", value) for value in ("", " ", ",", " , ,")),
    *(("DEFAULT_MAX_ATTEMPTS", value) for value in ("", "-1", "x", "4294967296", "1e3")),
    *(("DEFAULT_BACKOFF", value) for value in ("", "-1", "x", "315360000001")),
    *(("LEASE", value) for value in ("", "999", "-1", "30m", "315360000001")),
    *(("WORKER_SILENCE", value) for value in ("", "99", "-1", "30s", "315360000001")),
    *(("MAX_MEMORY", value) for value in ("", "1", "-1", "1G", "9007199254740993")),
    *(("LOOP", value) for value in ("", "trio")),
    *(("LOG_LEVEL", value) for value in ("", "loud")),
    *(("LOG_FORMAT", value) for value in ("", "yaml")),
]


def _slow_but_the_first() -> Iterator[object]:
    """Each starts a server, so one for each variable must do every day."""
    seen = set[str]()
    for name, value in WRONG_VALUES:
        yield pytest.param(name, value, id=f"{name}-{value[:25]}", marks=pytest.mark.slow if name in seen else ())
        seen.add(name)


@pytest.mark.parametrize(("name", "value"), list(_slow_but_the_first()))
def test_wrong_values(tmp_path: Path, name: str, value: str) -> None:
    """Each variable: one line that names what is wrong, and exit code 1."""
    url = None if name in ("DATA_DIR", "DATABASE_URL") else MEMORY
    server = ServerProcess(tmp_path, url=url, environment={name: value})
    said = refuses(server)
    if name not in ("HOST", "UNIX_SOCKET", "DATA_DIR", "TOKENS_FILE") or not value:
        assert name in said
    assert "hidden" not in said
    assert not server.data.exists()


def test_every_variable_has_a_wrong_value_here() -> None:
    """A new variable without a test would go untested."""
    lists_of_any_words = {"CORS_ALLOW_ORIGIN", "ALLOWED_HOSTS"}
    assert {name for name, _ in WRONG_VALUES} == set(VARIABLES) - lists_of_any_words


def test_good_values(tmp_path: Path) -> None:
    """Every variable at once, each with a value of its own, and all of them have their effect."""
    environment = {
        "HOST": "localhost", "UNIX_SOCKET": str(tmp_path / "s"), "DATA_DIR": str(tmp_path / "elsewhere"),
        "DATABASE_URL": f"sqlite:///{tmp_path}/elsewhere/other.db", "DURABILITY": "Relaxed", "AUTH_TOKENS": "a-token",
        "DEFAULT_MAX_ATTEMPTS": "7", "DEFAULT_BACKOFF": "0", "LEASE": "1000", "MAX_MEMORY": "1048576",
        "LOOP": "asyncio", "LOG_LEVEL": "ERROR", "LOG_FORMAT": "json",
    }  # fmt: skip
    with ServerProcess(tmp_path, environment=environment) as server, LineClient(str(tmp_path / "s")) as client:
        assert server.mode.startswith("relaxed")
        assert (tmp_path / "elsewhere" / "other.db").is_file()
        assert client.refused("PING")[0] == "unauthorized"
        client.ok("AUTH", token="a-token")
        id = client.ok("PUSH", queue="q", data=1)["id"]
        job = client.ok("PULL", queue="q")["job"]
        assert (job["max_attempts"], job["backoff"]) == (7, 0)
        assert client.refused("PUSH", queue="q", data="x" * 1_048_570)[0] == "overloaded"
        late = client.ok("PULL", queue="q", timeout=10_000)["job"]
        assert (late["id"], late["attempts"], late["progress_msg"]) == (id, 1, "Lease expired")
        assert server.stop() == 0
        assert "uvloop" not in server.errors()


def test_the_log_for_programs(tmp_path: Path) -> None:
    """LOG_FORMAT=json: each line of the log is one object with a time, a level and a sentence."""
    with ServerProcess(tmp_path, environment={"HOST": "0.0.0.0", "LOG_FORMAT": "json"}) as server:
        (line,) = server.errors().splitlines()
    told = json.loads(line)
    assert (told["level"], told["logger"]) == ("warning", "flashq")
    assert "without tokens" in told["message"]
    assert told["time"]


def test_open_to_everybody_is_said_loudly(tmp_path: Path) -> None:
    """Any address without tokens: a warning. With tokens, or at home: none."""
    for host, tokens, warned in (("0.0.0.0", None, True), ("0.0.0.0", "some-token", False), ("127.0.0.1", None, False)):
        environment = {"HOST": host} | ({"AUTH_TOKENS": tokens} if tokens else {})
        server = ServerProcess(tmp_path / f"{host}-{tokens}", url=MEMORY, environment=environment)
        with server:
            assert ("without tokens" in server.errors()) is warned


# --- addresses ---


def test_port_taken(tmp_path: Path) -> None:
    """The line names the address; what the folder holds is not lost by it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        server = ServerProcess(tmp_path, environment={"PORT": port})
        refuses(server, port, "cannot start")
    server.environment["PORT"] = "0"
    with server, server.client() as client:
        client.ok("PUSH", queue="q", data=1)
        server.environment["PORT"] = str(server.port)
        refuses(ServerProcess(tmp_path / "b", environment=server.environment | {"DATA_DIR": str(tmp_path / "b")}))
        assert client.ok("STATS")["queued"] == 1


def test_unix_socket(tmp_path: Path) -> None:
    """Made for owner and group only whatever the umask says, and removed at the end."""
    with ServerProcess(tmp_path, url=MEMORY, unix=True) as server:
        mode = server.socket_path.stat().st_mode
        assert stat.S_ISSOCK(mode)
        assert stat.S_IMODE(mode) == 0o660
        with server.unix_client() as client, server.client() as other:
            id = client.ok("PUSH", queue="q", data=1)["id"]
            assert other.ok("PULL", queue="q")["job"]["id"] == id
        assert server.stop() == 0
        assert not server.socket_path.exists()


def test_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    """What a killed server left behind stands in nobody's way."""
    with ServerProcess(tmp_path, unix=True) as server:
        server.kill()
        assert server.socket_path.exists()
        server.start()
        with server.unix_client() as client:
            assert client.ok("PING") == {}


def test_a_unix_socket_in_use_is_not_taken(tmp_path: Path) -> None:
    """Another server listens there: it keeps its socket and its clients."""
    with ServerProcess(tmp_path / "a", url=MEMORY, unix=True) as server, server.unix_client() as client:
        environment = {"UNIX_SOCKET": str(server.socket_path)}
        refuses(ServerProcess(tmp_path / "b", url=MEMORY, environment=environment), str(server.socket_path), "listens")
        assert client.ok("PING") == {}
        with server.unix_client() as another:
            assert another.ok("PING") == {}


def test_a_unix_socket_that_is_too_busy_to_answer_is_in_use(tmp_path: Path) -> None:
    """Nobody accepts and the line is full: somebody listens nevertheless, and the start does not hang."""
    path = tmp_path / "busy.sock"
    with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as first:
        busy.bind(str(path))
        busy.listen(0)
        first.connect(str(path))
        refuses(ServerProcess(tmp_path / "b", url=MEMORY, environment={"UNIX_SOCKET": str(path)}), "listens")
        assert path.exists()


def test_other_things_at_the_path_of_the_socket(tmp_path: Path) -> None:
    """A file, a folder or a link there is somebody's; it stays as it is."""
    file, folder, link = tmp_path / "file", tmp_path / "folder", tmp_path / "link"
    file.write_text("precious")
    folder.mkdir()
    link.symlink_to(file)
    for path in (file, folder, link):
        server = ServerProcess(tmp_path / "server", url=MEMORY, environment={"UNIX_SOCKET": str(path)})
        refuses(server, str(path), "not a socket")
    assert file.read_text() == "precious"
    assert link.is_symlink()


# --- folders and databases ---


def test_two_servers_on_one_folder(tmp_path: Path) -> None:
    """The second says whose folder it is and touches nothing; the first goes on."""
    with ServerProcess(tmp_path) as server, server.client() as client:
        client.ok("PUSH", queue="q", data=1)
        second = ServerProcess(tmp_path / "second", environment={"DATA_DIR": str(server.data)})
        refuses(second, "another FlashQ server", str(server.data))
        assert client.ok("PUSH", queue="q", data=2)["id"] == 2
        assert server.restart().running
        with server.client() as again:
            assert again.ok("STATS")["queued"] == 2


def test_a_folder_is_made_for_its_owner_only(tmp_path: Path) -> None:
    """Jobs are nobody else's business."""
    with ServerProcess(tmp_path) as server:
        assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in server.data.iterdir())


def broken_databases(folder: Path) -> dict[str, bytes]:
    """Files that are no database of ours, and one of ours with a page spoilt."""
    with ServerProcess(folder / "source") as server, server.client() as client:
        client.ok("PUSHB", queue="q", jobs=[{"data": "x" * 500}] * 500)
        server.stop()
    path = server.data / "flashq.db"
    whole = path.read_bytes()
    with sqlite3.connect(path) as ours:  # somewhere in the middle may be a page that nothing is on any more
        (page,) = ours.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'jobs'").fetchone()
    ours.close()
    foreign = folder / "foreign.db"
    with sqlite3.connect(foreign) as other:
        other.execute("CREATE TABLE precious (text)")
    other.close()
    return {
        "noise": os.urandom(8_192),
        "text": b"dear diary, " * 1_000,
        "foreign": foreign.read_bytes(),
        "spoilt": whole[: (page - 1) * 4_096] + b"\xff" * 4_096 + whole[page * 4_096 :],
        "cut": whole[: len(whole) // 2 + 100],
        "spoilt header": b"SQLite format 4\x00" + whole[16:],
    }


def test_what_is_no_database_of_ours(tmp_path: Path) -> None:
    """Damaged or foreign: the line names the file, and not a byte of it is changed."""
    for kind, data in broken_databases(tmp_path).items():
        server = ServerProcess(tmp_path / kind)
        server.data.mkdir(parents=True)
        path = server.data / "flashq.db"
        path.write_bytes(data)
        refuses(server, str(path))
        assert path.read_bytes() == data, kind
        log = path.with_name("flashq.db-wal")
        assert not log.exists() or not log.read_bytes(), kind


def test_a_database_that_went_back_in_time(tmp_path: Path) -> None:
    """An older copy in its place is noticed: what was confirmed in between would be gone without a word."""
    with ServerProcess(tmp_path) as server:
        with server.client() as client:
            client.ok("PUSH", queue="q", data=1)
        server.stop()
        path = server.data / "flashq.db"
        older = path.read_bytes()
        server.start()
        with server.client() as client:
            client.ok("PUSH", queue="q", data=2)
        server.stop()
        path.write_bytes(older)
        before = contents(server.data)
        refuses(server, str(path), "back in time")
        assert contents(server.data) == before


def test_a_folder_in_place_of_the_database(tmp_path: Path) -> None:
    """Whatever stands there, the answer is one line."""
    server = ServerProcess(tmp_path)
    (server.data / "flashq.db").mkdir(parents=True)
    refuses(server, "flashq.db")


# --- going ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_go(tmp_path: Path, number: int) -> None:
    """Waiting clients are answered, everything confirmed is there after the restart, and the exit code is 0."""
    with ServerProcess(tmp_path) as server:
        with server.client() as waiting, server.client() as named, server.client() as idle:
            waiting.send("PULL", queue="empty")
            named.send("PULLB", queue="empty", count=2, reqId="r")
            assert named.silent()
            id = idle.ok("PUSH", queue="q", data=1)["id"]
            server.signal(number)
            assert waiting.rest() == [{"ok": True, "job": None}]
            assert named.rest() == [{"ok": True, "jobs": [], "reqId": "r"}]
            assert idle.rest() == []
        assert server.wait() == 0
        assert "Traceback" not in server.errors()
        server.start()
        with server.client() as client:
            assert client.ok("PULL", queue="q")["job"]["id"] == id


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_go_while_its_database_does_not_answer(tmp_path: Path, number: int) -> None:
    """It ends at once, with 0, and not when it would have given up."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"postgres://flashq@127.0.0.1:{silent.getsockname()[1]}/jobs"
        server = ServerProcess(tmp_path, url=url)
        server.launch()
        with server:
            silent.settimeout(20)
            with silent.accept()[0]:
                server.signal(number)
                assert server.wait(START_SECONDS - 2) == 0
            assert server.errors() == "flashq: told to stop while starting\n"


RECOVERING = """
import sys, flashq.server.app as app
def slowly(*arguments, **more):
    print("recovering", file=sys.stderr, flush=True)
    while True: pass
app.restore = slowly
from flashq.cli.main import main
main()
"""


def test_told_to_go_in_a_long_recovery(tmp_path: Path) -> None:
    """The loop is busy: the process ends at once, with 0, and the next start finds what was confirmed."""
    with ServerProcess(tmp_path) as server:
        with server.client() as client:
            client.ok("PUSH", queue="q", data=1)
        server.kill()
        recovering = ServerProcess(tmp_path, command=(sys.executable, "-c", RECOVERING, "serve"))
        recovering.launch()
        with recovering:
            deadline = time.monotonic() + 20
            while "recovering" not in recovering.errors():
                assert time.monotonic() < deadline
                time.sleep(0.01)
            assert recovering.stop() == 0
        server.start()
        with server.client() as client:
            assert client.ok("STATS")["queued"] == 1


def test_going_under_load(tmp_path: Path) -> None:
    """Clients push as fast as they can: what was confirmed before the end is there, and nobody hangs."""
    with ServerProcess(tmp_path) as server:
        confirmed: list[int] = []

        def push(client: LineClient) -> None:
            try:
                while True:
                    client.send_raw(b'{"cmd":"PUSH","queue":"q","data":1}\n' * 50)
                    for answer in client.receive_many(50):
                        if not answer["ok"]:
                            assert answer["code"] == "shutting_down"
                            return
                        confirmed.append(answer["id"])
            except (EndOfAnswers, OSError):
                return
            finally:
                client.close()

        threads = [threading.Thread(target=push, args=(server.client(),)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while len(confirmed) < 500:
            time.sleep(0.001)
        assert server.stop() == 0
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        server.start()
        with server.client() as client:
            ids = set()
            while jobs := client.ok("PULLB", queue="q", count=10_000, timeout=0)["jobs"]:
                ids |= {job["id"] for job in jobs}
        assert set(confirmed) <= ids


def test_a_client_that_never_reads_does_not_keep_the_server(tmp_path: Path) -> None:
    """A stop takes ten seconds at the most, whoever is connected."""
    with ServerProcess(tmp_path, url=MEMORY) as server, server.client() as client, server.client() as deaf:
        id = client.ok("PUSH", queue="q", data="x" * 1_000_000)["id"]
        deaf.send_raw(b'{"cmd":"GETJOB","id":%d}\n' % id * 200)
        client.ok("PING")
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 12


def test_what_survives_a_stop(tmp_path: Path) -> None:
    """States, settings, schedules, keys, results, attempts and counters are those from before."""
    with ServerProcess(tmp_path) as server:
        with server.client() as client:
            client.ok("PAUSE", queue="paused")
            client.ok("RATELIMIT", queue="rated", limit=5)
            client.ok("SETCONCURRENCY", queue="braked", limit=2)
            client.ok("CRON", name="c", queue="q", schedule="0 0 1 1 *", data={"x": 1.50})
            done = client.ok("PUSH", queue="q", data=1, job_id="mine")["id"]
            client.ok("PULL", queue="q")
            client.ok("ACK", id=done, result="r")
            failed = client.ok("PUSH", queue="q", data=2, max_attempts=1)["id"]
            client.ok("PULL", queue="q")
            client.ok("FAIL", id=failed, error="e")
            held = client.ok("PUSH", queue="q", data=3, unique_key="k", delay=3_600_000, tags=["t"])["id"]
            child = client.ok("PUSH", queue="q", data=4, depends_on=[held])["id"]
            running = client.ok("PUSH", queue="q", data=5)["id"]
            token = client.ok("PULL", queue="q")["job"]["token"]
            before = {cmd: client.ok(cmd) for cmd in ("LISTQUEUES", "CRONLIST", "STATS")}
            jobs = [client.ok("GETJOB", id=id) for id in (done, failed, held, child)]
        server.stop()
        server.start()
        with server.client() as client:
            assert client.ok("CRONLIST") == before["CRONLIST"]
            assert [client.ok("GETJOB", id=id) for id in (done, failed, held, child)] == jobs
            assert client.ok("GETRESULT", id=done)["result"] == "r"
            assert client.ok("PUSH", queue="q", data=9, job_id="mine") == {"id": done, "replayed": True}
            assert client.ask("PUSH", queue="q", data=9, unique_key="k")["id"] == held
            stats = client.ok("STATS")
            assert stats == {**before["STATS"], "queued": 1, "processing": 0}
            client.ok("ACK", id=running, token=token)
            queues = [{**queue, "processing": 0} for queue in before["LISTQUEUES"]["queues"]]
            for queue in queues:
                queue["completed"] += queue["name"] == "q"
            assert client.ok("LISTQUEUES")["queues"] == queues
            assert client.ok("PUSH", queue="q", data=6)["id"] == running + 1
