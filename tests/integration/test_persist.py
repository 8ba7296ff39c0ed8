"""`make persist`: a server with PostgreSQL for somebody who has one, or none."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.fakes.postgres import Databases, scratch
from tests.fakes.server_process import READY, LineClient
from tests.tidy.source import ROOT
from tools.postgres import query

PROGRAM = (
    "import sys; from pathlib import Path; from tools import persist; sys.exit(persist.main([], Path(sys.argv[1])))"
)


@contextmanager
def persisting(folder: Path, **environment: str) -> Iterator[LineClient]:
    """A client of the server; the program that runs it is asked to end in the end, and does."""
    environment = {"PATH": os.environ["PATH"], "PORT": "0", "DATA_DIR": str(folder / "data"), **environment}
    command = [sys.executable, "-c", PROGRAM, str(folder / "postgres")]
    with subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        try:
            ready = READY.fullmatch(program.stdout.readline())
            assert ready is not None
            with LineClient(("127.0.0.1", int(ready[2]))) as client:
                yield client
        finally:
            program.send_signal(signal.SIGTERM)
        assert program.wait(30) == 0


@pytest.mark.slow
def test_without_a_database_it_brings_its_own() -> None:
    """Jobs are in a PostgreSQL that runs as long as the server, and are there the next time."""
    with scratch() as folder:
        with persisting(folder) as client:
            client.ok("PUSH", queue="q", data="kept")
            running = folder / "postgres" / "data" / "postmaster.pid"
            assert running.exists()
        assert not running.exists()
        assert not (folder / "data" / "flashq.db").exists()
        with persisting(folder) as client:
            assert client.ok("PULL", queue="q")["job"]["data"] == "kept"


@pytest.mark.slow
def test_with_a_database_it_uses_that(databases: Databases) -> None:
    """DATABASE_URL is obeyed, and nothing else is started."""
    with databases.fresh() as url, scratch() as folder:
        with persisting(folder, DATABASE_URL=url) as client:
            client.ok("PUSH", queue="q", data="there")
        assert query(url, "SELECT count(*) FROM pg_namespace WHERE nspname = 'flashq'") == ["1"]
        assert not (folder / "postgres").exists()
