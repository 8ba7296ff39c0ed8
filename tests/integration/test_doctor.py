"""``flashq doctor`` on what a real server leaves: stopped, killed, running, damaged."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from tests.fakes.server_process import ServerProcess

from flashq.storage import checksums
from flashq.storage.sqlite import SqliteStorage

HOSTILE = "\x1b]0;owned\x07\u202e"


@pytest.fixture
def process(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server with jobs."""
    with ServerProcess(tmp_path) as process:
        with process.client() as client:
            client.ok("PUSHB", queue="emails", jobs=[{"data": number} for number in range(100)])
            client.ok("PUSH", queue="emails", data=HOSTILE, unique_key=HOSTILE)
            client.ok("PULL", queue="emails")
        yield process


def doctor(process: ServerProcess, *options: str) -> tuple[int, str, str]:
    """Its exit code, and what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "flashq", *options, "doctor"],
        env={"DATA_DIR": str(process.data)},
        capture_output=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def fold(process: ServerProcess) -> None:
    """Have everything in the tables, as after a quiet time."""
    storage = SqliteStorage(process.data / "flashq.db", steady_ms=lambda: 0)
    storage.open()
    assert list(storage.load().jobs)
    while storage.tidy(idle=True):
        pass
    storage.close()


def test_what_a_server_leaves_is_sound(process: ServerProcess) -> None:
    """Whether it was stopped or killed; and while it runs it cannot be looked at."""
    code, out, err = doctor(process)
    assert (code, out) == (3, "")
    assert "stop it first" in err
    process.kill()
    assert (process.data / "flashq.db-wal").stat().st_size > 0
    code, out, err = doctor(process)
    assert (code, out.splitlines()[-1], err) == (0, "sound", "")
    assert process.start().stop() == 0
    code, out, err = doctor(process)
    assert (code, out.splitlines()[-1], err) == (0, "sound", "")
    assert "ok     jobs: 101 jobs" in out


def test_damage_is_told_and_shows_no_payload_as_it_is(process: ServerProcess) -> None:
    """The exit code says it to programs, the lines to people, and a terminal is not obeyed."""
    process.stop()
    connection = apsw.Connection(str(process.data / "flashq.db"), vfs=checksums.vfs())
    connection.execute("DELETE FROM meta")
    connection.close()
    code, out, _ = doctor(process)
    assert code == 1
    assert "WRONG  schema: " in out
    assert out.splitlines()[-1] == "damaged: 1 findings"
    code, out, _ = doctor(process, "--json")
    found = json.loads(out)
    assert (code, found["sound"], found["findings"][-1]["check"]) == (1, False, "schema")
    assert "\x1b" not in out


def test_names_from_clients_are_shown_escaped(process: ServerProcess) -> None:
    """What is wrong may name what a client has named."""
    process.stop()
    fold(process)
    connection = apsw.Connection(str(process.data / "flashq.db"), vfs=checksums.vfs())
    connection.execute("UPDATE jobs SET unique_key = ?, queue = ?", (HOSTILE, HOSTILE))
    connection.close()
    code, out, err = doctor(process)
    assert code == 1
    assert HOSTILE[0] not in out + err
    assert "\\x1b" in out


def test_a_start_refuses_what_the_doctor_calls_damaged(process: ServerProcess) -> None:
    """The two do not contradict each other."""
    process.stop()
    connection = apsw.Connection(str(process.data / "flashq.db"), vfs=checksums.vfs())
    connection.execute("DELETE FROM journal WHERE number = 1")
    connection.execute("UPDATE queues SET pushed = pushed + 1")
    connection.close()
    assert doctor(process)[0] == 1
    code, _ = process.run_to_end()
    assert code == 1


def test_nothing_there(tmp_path: Path) -> None:
    """A folder without a database is no damage, and is not made into one."""
    code, out, err = doctor(ServerProcess(tmp_path / "none"))
    assert (code, out) == (4, "")
    assert "there is no database" in err
    assert not (tmp_path / "none").exists()


def test_storage_that_leaves_nothing(tmp_path: Path) -> None:
    """There is nothing of memory that could be looked at, and the sentence says so."""
    done = subprocess.run(
        [sys.executable, "-m", "flashq", "doctor", "--database-url", "memory://"],
        env={},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert b"memory://" in done.stderr
