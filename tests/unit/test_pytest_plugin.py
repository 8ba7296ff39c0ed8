"""The fixtures, as a project uses them that has FlashQ installed: in a pytest of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Final

APP: Final = """
import flashq
app = flashq.App()
@app.task
def send(to: str) -> int:
    return len(to)
"""

SETTINGS: Final = '[tool.pytest.ini_options]\nflashq_app = "mails:app"\n'

TESTS: Final = """
import os
from flashq import FlashQ
from mails import send

def test_the_app(flashq_app, drain, enqueued, assert_enqueued, assert_not_enqueued):
    assert_not_enqueued()
    job = send.delay("ada")
    assert_enqueued(send, args=("ada",))
    assert [each.result for each in drain()] == [3]
    assert [each.id for each in enqueued(send)] == [job.id]
    assert flashq_app.client.result(job.id) == 3

def test_each_test_has_a_server_of_its_own(enqueued):
    assert enqueued() == []

def test_a_real_server(flashq_server):
    with FlashQ() as q:
        assert q.push("q", 1) == 1
    assert os.environ["FLASHQ_URL"] == flashq_server.url
"""


def run(folder: Path, tests: str, settings: str = SETTINGS) -> "subprocess.CompletedProcess[str]":
    """Run tests in a project of their own."""
    (folder / "pyproject.toml").write_text(settings)
    (folder / "mails.py").write_text(APP)
    (folder / "test_mails.py").write_text(tests)
    # What else is installed here takes seconds to load.
    plugins = ["--disable-plugin-autoload", "-p", "flashq", "-p", "no:cacheprovider"]
    command = [sys.executable, "-m", "pytest", *plugins, "-o", "pythonpath=.", "-q"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)


def test_the_fixtures_of_a_project(tmp_path: Path) -> None:
    """A project names its app and has everything; no test sees another's jobs."""
    done = run(tmp_path, TESTS)
    assert "3 passed" in done.stdout, done.stdout


def test_an_app_may_be_given_by_a_fixture(tmp_path: Path) -> None:
    """Instead of the setting."""
    given = "import pytest, mails\n@pytest.fixture\ndef flashq_app_target():\n    return mails.app\n"
    done = run(tmp_path, given + TESTS, settings="")
    assert "3 passed" in done.stdout, done.stdout


def test_a_project_that_names_no_app_is_told_how(tmp_path: Path) -> None:
    """The error is what is to be done."""
    done = run(tmp_path, TESTS, settings="")
    assert "set flashq_app = " in done.stdout
    assert "1 passed, 2 errors" in done.stdout, done.stdout


def test_nothing_heavy_is_loaded_unasked(tmp_path: Path) -> None:
    """A test run that uses none of it has not imported the server."""
    heavy = {"flashq.testing", "flashq.engine", "flashq.server", "apsw"}
    done = run(tmp_path, f"import sys\ndef test_it():\n    assert not {heavy} & set(sys.modules)\n")
    assert "1 passed" in done.stdout, done.stdout
