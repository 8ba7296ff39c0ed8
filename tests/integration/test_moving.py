"""``flashq export`` and ``flashq import`` between what real servers leave, and servers that go on from it."""

import gzip
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.kept import commit
from tests.fakes.postgres import Databases
from tests.fakes.server_process import ServerProcess

from flashq.storage.postgres import PostgresStorage

JOBS = 3_000


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with jobs of many kinds, stopped."""
    with ServerProcess(tmp_path / "old", environment={"AUDIT": "1"}) as process:
        with process.client() as client:
            client.ok("PUSHB", queue="emails", jobs=[{"data": {"n": number}} for number in range(JOBS)])
            parent = client.ok("PUSH", queue="reports", data="parent", job_id="mine")["id"]
            client.ok("PUSH", queue="merge", data="child", depends_on=[parent])
            client.ok("PUSH", queue="later", data="delayed", delay=3_600_000)
            client.ok("PUSH", queue="emails", data="keyed", unique_key="k")
            done, failed = (client.ok("PULL", queue="emails")["job"] for _ in range(2))
            client.ok("ACK", id=done["id"], token=done["token"], result={"sent": True})
            client.ok("FAIL", id=failed["id"], token=failed["token"], error="no such address", dead=True)
            client.ok("CRON", name="yearly", queue="emails", data={}, schedule="0 0 1 1 *")
            client.ok("PAUSE", queue="quiet")
        assert process.stop() == 0
        yield process


def flashq(data: Path, *arguments: str, given: bytes | None = None) -> tuple[int, bytes, str]:
    """A verb beside a data folder: its exit code and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "flashq", *arguments],
        env={"DATA_DIR": str(data)},
        input=given,
        stdin=subprocess.DEVNULL if given is None else None,
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, done.stderr.decode()


def counts(process: ServerProcess) -> dict[str, Any]:
    """What a server says of its queues."""
    with process.client() as client:
        return {queue["name"]: queue for queue in client.ok("LISTQUEUES")["queues"]}


def test_a_server_goes_on_from_an_import(process: ServerProcess, tmp_path: Path) -> None:
    """All jobs are there, run, and keep their ids, keys, parents and results; the schedule and the pause hold."""
    file, new = tmp_path / "jobs.ndjson", ServerProcess(tmp_path / "new", environment={"AUDIT": "1"})
    assert flashq(process.data, "export", str(file))[0] == 0
    assert file.stat().st_mode & 0o777 == 0o600
    code, out, err = flashq(new.data, "import", str(file))
    assert (code, err) == (0, "")
    assert out.startswith(f"{JOBS + 4} jobs, ".encode())
    code, out, _ = flashq(new.data, "doctor")
    assert (code, out.splitlines()[-1]) == (0, b"sound")
    with process.start(), new.start():
        assert counts(new) == counts(process)
        with new.client() as client:
            assert client.refused("PUSH", queue="emails", data=1, unique_key="k")[0] == "duplicate"
            assert client.ok("PUSH", queue="reports", data="again", job_id="mine")["replayed"] is True
            assert client.ok("GETRESULT", id=1)["result"] == {"sent": True}
            assert [entry["event"] for entry in client.ok("HISTORY", id=2)["history"]][-1] == "dead"
            pulled = client.ok("PULLB", queue="emails", count=JOBS)["jobs"]
            assert [job["data"] for job in pulled] == [*({"n": number} for number in range(2, JOBS)), "keyed"]
            parent = client.ok("PULL", queue="reports")["job"]
            client.ok("ACK", id=parent["id"], token=parent["token"])
            assert client.ok("PULL", queue="merge")["job"]["data"] == "child"
            assert client.ok("PUSH", queue="emails", data="new")["id"] == JOBS + 5
            assert [cron["name"] for cron in client.ok("CRONLIST")["crons"]] == ["yearly"]


def test_through_a_pipe(process: ServerProcess, tmp_path: Path) -> None:
    """Output and input may be streams; nothing but the export is written to the output."""
    code, out, err = flashq(process.data, "export", "-")
    assert (code, err) == (0, "")
    packed = gzip.compress(out)
    code, said, _ = flashq(tmp_path / "new", "--json", "import", "-", given=gzip.decompress(packed))
    assert (code, json.loads(said)["jobs"]) == (0, JOBS + 4)
    again = flashq(tmp_path / "new", "export", "-")[1]
    assert again.splitlines()[1:] == [*out.splitlines()[1:-1], again.splitlines()[-1]]


def test_an_export_of_postgres_says_so(databases: Databases, tmp_path: Path) -> None:
    """In one word, however the address spells it."""
    with databases.fresh() as url:
        commit(PostgresStorage(url, tmp_path, steady_ms=lambda: 0), [])
        for scheme in ("postgres", "postgresql"):
            spelt = f"{scheme}://{url.partition('://')[2]}"
            code, out, err = flashq(tmp_path, "export", "-", "--database-url", spelt)
            assert (code, err) == (0, "")
            assert json.loads(out.splitlines()[0])["storage"] == "postgres"


def test_an_import_that_is_killed(process: ServerProcess, tmp_path: Path) -> None:
    """No server starts on half of one and the doctor says so; run again it goes on to its end."""
    out, new = flashq(process.data, "export", "-")[1], ServerProcess(tmp_path / "new")
    command = [sys.executable, "-m", "flashq", "import", "-"]
    importing = subprocess.Popen(command, env={"DATA_DIR": str(new.data)}, stdin=subprocess.PIPE)
    assert importing.stdin is not None
    importing.stdin.write(out[: len(out) * 2 // 3])
    importing.stdin.flush()
    log = new.data / "flashq.db-wal"
    deadline = time.monotonic() + 30
    while not (log.exists() and log.stat().st_size > 100_000):
        assert importing.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    importing.kill()
    importing.wait()
    importing.stdin.close()
    code, said = new.run_to_end()
    assert code == 1
    assert "broken off" in said
    code, said_, _ = flashq(new.data, "doctor")
    assert (code, b"broken off" in said_) == (1, True)
    assert flashq(new.data, "export", "-")[0] == 1
    assert flashq(new.data, "import", "-", given=out)[0] == 0
    again = flashq(new.data, "export", "-")[1]
    assert again.splitlines()[1:-1] == out.splitlines()[1:-1]


def test_what_is_refused(process: ServerProcess, tmp_path: Path) -> None:
    """A full place, a damaged export, a file that is there, a server that runs: told in a line, and nothing happens."""
    file = tmp_path / "jobs.ndjson"
    assert flashq(process.data, "export", str(file))[0] == 0
    assert flashq(process.data, "export", str(file))[0] == 1
    before = (process.data / "flashq.db").read_bytes()
    code, _, err = flashq(process.data, "import", str(file))
    assert (code, "needs an empty place" in err) == (1, True)
    assert (process.data / "flashq.db").read_bytes() == before
    short = tmp_path / "short.ndjson"
    short.write_bytes(file.read_bytes()[:-100])
    code, _, err = flashq(tmp_path / "new", "import", str(short))
    assert (code, "cut short" in err) == (1, True)
    assert flashq(tmp_path / "none", "export", "-")[0] == 4
    assert flashq(tmp_path / "none", "import", str(tmp_path / "missing"))[0] == 1
    assert not (tmp_path / "none").exists()
    with process.start():
        code, _, err = flashq(process.data, "export", "-")
        assert (code, "is using" in err) == (3, True)
        assert flashq(process.data, "import", str(file))[0] == 3
