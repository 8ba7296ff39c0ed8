"""The commands of docs/operations.md, on what a server has left."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.fakes.server_process import MEMORY, ServerProcess
from tests.tidy.guide import blocks
from tests.tidy.source import ROOT

PATH: Final = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
NAMED: Final = "flashq-20260301T120000.000Z.db"
"""The backup of the page."""


def run(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A line that somebody types."""
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"],
        cwd=folder,
        env={"PATH": PATH, **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )


def test_the_page_is_true(tmp_path: Path) -> None:
    """Each command ends well when they are typed in their order."""
    with ServerProcess(tmp_path) as process:
        with process.client() as client:
            client.ok("PUSHB", queue="emails", jobs=[{"data": number} for number in range(20)])
        assert process.stop() == 0
    process.data.rename(tmp_path / "flashq-data")
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    commands = [line for block in blocks(page) if block.kind == "shell" for line in block.body.splitlines()]
    assert len(commands) >= 6
    for command in commands:
        done = run(command, tmp_path)
        assert done.returncode == 0, (command, done)
    assert done.stdout == b"20\n"


def test_a_backup_and_the_way_back(tmp_path: Path) -> None:
    """The commands of the page, while jobs come in: what was confirmed before is in it, and it can be served."""
    with ServerProcess(tmp_path / "server") as process:
        (tmp_path / "flashq-data").symlink_to(process.data)
        with process.client() as client:
            before = client.ok("PUSHB", queue="emails", jobs=[{"data": number} for number in range(2_000)])["ids"]
            client.send("PUSHB", queue="emails", jobs=[{"data": "late"}] * 1_000)
            page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").partition("## Backups")[2]
            commands = [line for block in blocks(page) if block.kind == "sh" for line in block.body.splitlines()]
            assert len(commands) == 5
            done = run(commands[0], tmp_path, FLASHQ_URL=f"flashq://127.0.0.1:{process.port}")
            path = Path(done.stdout.decode().partition(":")[0])
            assert (done.returncode, path.parent) == (0, process.data / "backups"), done
            client.receive()
        for command in commands[1:]:  # the server goes on with its own data
            done = run(command.replace(NAMED, path.name), tmp_path)
            assert done.returncode == 0, (command, done)
            assert not command.startswith("flashq doctor") or done.stdout.endswith(b"sound\n")
    again = {"DATA_DIR": str(tmp_path / "flashq-back")}
    with ServerProcess(tmp_path / "again", environment=again) as process, process.client() as client:
        assert client.ok("GETJOB", id=before[-1])["state"] == "waiting"
        assert len(client.ok("PULLB", queue="emails", count=1_000, timeout=0)["jobs"]) == 1_000


def test_an_older_state_only_on_purpose(tmp_path: Path) -> None:
    """A backup in the place of a newer database is refused, until the file that remembers the newer one is removed."""
    with ServerProcess(tmp_path) as process:
        with process.client() as client:
            client.ok("PUSH", queue="q", data="old")
            path = client.ok("BACKUP")["backup"]["path"]
            client.ok("PUSH", queue="q", data="new")
        assert process.stop() == 0
        shutil.copy(path, process.data / "flashq.db")
        code, said = process.run_to_end()
        assert code == 1
        assert "storage went back in time" in said
        (process.data / "flashq.db.highwater").unlink()
        process.start()
        with process.client() as client:
            assert client.ok("STATS")["queued"] == 1


def test_the_command_says_what_was_made(tmp_path: Path) -> None:
    """For programs as an object, over HTTP too; in the folder that was set, and as many as were set."""
    with ServerProcess(tmp_path, environment={"BACKUP_DIR": str(tmp_path / "far"), "BACKUP_KEEP": "2"}) as process:
        for url in [f"flashq://127.0.0.1:{process.port}"] * 2 + [f"http://127.0.0.1:{process.http_port}"] * 2:
            done = run("flashq backup --json", tmp_path, FLASHQ_URL=url)
            assert done.returncode == 0, done
            made = json.loads(done.stdout)
            assert Path(made["path"]).stat().st_size == made["bytes"]
        left = sorted(path.name for path in (tmp_path / "far").iterdir())
        assert len(left) == 2
        assert left[-1] == Path(made["path"]).name


def test_where_there_is_nothing_to_back_up(tmp_path: Path) -> None:
    """The server says so, and the exit code is that of a refusal."""
    with ServerProcess(tmp_path, url=MEMORY) as process:
        done = run("flashq backup", tmp_path, FLASHQ_URL=f"flashq://127.0.0.1:{process.port}")
        assert done.returncode == 3
        assert b"in memory only" in done.stderr


def test_what_is_left_of_a_backup_is_removed(tmp_path: Path) -> None:
    """By the next start, and a folder that cannot be looked into keeps no server from starting."""
    with ServerProcess(tmp_path) as process:
        process.kill()
        place = process.data / "backups"
        place.mkdir()
        (place / f"{NAMED}.part").touch()
        process.start()
        assert list(place.iterdir()) == []
        process.kill()
        (place / f"{NAMED}.part").mkdir()
        process.start()
        assert "could not be removed" in process.errors()
