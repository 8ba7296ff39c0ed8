"""The guide to PostgreSQL: its statements make a database that a server can use, and its question gets an answer."""

import os
import re
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.fakes.postgres import Databases
from tests.fakes.server_process import ServerProcess
from tools.postgres import of_database, query

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "postgres.md"
NAME = f"flashq_guide_{os.getpid()}"
SECONDS = 20

pytestmark = pytest.mark.slow


def statements() -> list[list[str]]:
    """The SQL of the guide, block by block."""
    blocks = re.findall(r"```sql\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    return [block.strip().split("\n") for block in blocks]


def test_what_the_guide_says_works(databases: Databases, tmp_path: Path) -> None:
    """Role and database as it makes them, a server with that role, a job, and a look into the tables."""
    setup, (look,) = statements()
    try:
        for statement in setup:
            query(databases.url, re.sub(r"\bjobs\b", NAME, statement))
        parts = urlsplit(of_database(databases.url, NAME))
        _, at, host = parts.netloc.rpartition("@")
        url = parts._replace(netloc=f"{NAME}:choose-one{at}{host}").geturl()
        with ServerProcess(tmp_path, url=url) as server, server.client() as client:
            client.ok("PUSH", queue="mail", data={"a": 1})
            deadline = time.monotonic() + SECONDS
            while (seen := query(url, look)) != ["mail|waiting|1"]:  # folded when it is quiet
                assert time.monotonic() < deadline, seen
                time.sleep(0.05)
            assert "choose-one" not in server.log.read_text(encoding="utf-8") + server.mode
    finally:
        query(databases.url, f"DROP DATABASE IF EXISTS {NAME} WITH (FORCE)")
        query(databases.url, f"DROP ROLE IF EXISTS {NAME}")
