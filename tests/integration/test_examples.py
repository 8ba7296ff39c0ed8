"""The examples do what they say: people will copy them."""

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from tests.fakes.server_process import MEMORY, ServerProcess

from flashq import FlashQ

EXAMPLES: Final = Path(__file__).parent.parent.parent / "examples"
CENSUS: Final = EXAMPLES / "stdlib_census" / "demo.py"


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server."""
    with ServerProcess(tmp_path, url=MEMORY) as server:
        yield f"flashq://127.0.0.1:{server.port}"


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A small library with two files that are no Python and one function that is more complex than all others."""
    root = tmp_path / "library"
    root.mkdir()
    for number in range(120):
        (root / f"plain_{number:03}.py").write_text(f"def plain_{number}():\n    return {number}\n")
    branches = "".join(f"    if x == {number}:\n        return {number}\n" for number in range(40))
    (root / "knotty.py").write_text(f"class Knot:\n  def tie(self, x):\n{branches.replace('    ', '      ')}")
    (root / "old.py").write_text("print 'hello'\n")
    (root / "bytes.py").write_bytes(b"x = '\xff'\n")
    return root


def run(*command: str, **environment: str) -> str:
    """Run an example; gives what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_hello(url: str) -> None:
    """Two greetings after a failure each, and one job that goes to the dead letters at once, run by a worker."""
    command = [sys.executable, "-m", "flashq", "worker", "hello:app"]
    environment = {**os.environ, "FLASHQ_URL": url}
    with subprocess.Popen(command, cwd=EXAMPLES, env=environment, stderr=subprocess.DEVNULL) as worker:
        try:
            printed = run(str(EXAMPLES / "hello.py"), FLASHQ_URL=url)
        finally:
            worker.terminate()
    assert worker.returncode == 0
    assert printed.splitlines() == [
        "Hello, Ada, in attempt 2!",
        "Hello, Grace, in attempt 2!",
        "job 3 rests with the dead letters: nobody to greet",
    ]


def test_hello_is_short() -> None:
    """The first program that somebody reads fits on half a page."""
    assert len((EXAMPLES / "hello.py").read_text().splitlines()) <= 30


def test_census(library: Path, tmp_path: Path) -> None:
    """Over a hundred files: every one is counted once, the worst is found, what went wrong is put right."""
    printed = run(str(CENSUS), "--root", str(library), "--workers", "2", TMPDIR=str(tmp_path))
    assert "124 files, " in printed  # 120 plain, one knotty, two broken, one that comes late
    assert re.search(r"^ +41 +81 lines  Knot\.tie  \(knotty\.py:2\)$", printed, re.MULTILINE)
    assert re.search(r"^2 files are not Python", printed, re.MULTILINE)
    assert re.search(r"events as they happen: http://127\.0\.0\.1:\d+/docs$", printed, re.MULTILINE)
    assert "123 files found by 1 jobs" in printed
    assert "128 jobs enqueued" in printed  # 124 counts, two parts, their sum, the report
    assert re.search(r"killed worker process \d+", printed)
    # Its last attempt may be the one that the killed worker took along.
    why = "FileNotFoundError|worker process died"
    assert len(re.findall(rf"dead letter: job \d+ after 3 attempts: (?:{why})", printed)) == 1
    assert re.search(r"128 jobs done, the last one says: line (\d+) of \1$", printed, re.MULTILINE)
    assert "129 jobs in" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["library"]


@pytest.mark.slow
def test_census_of_the_real_library() -> None:
    """The largest files of the interpreter's own library, which is what the demo is about."""
    printed = run(str(CENSUS), "--files", "20", "--workers", "2")
    assert re.search(r"^21 files, [\d,]{6,} lines, [\d,]{4,} functions$", printed, re.MULTILINE)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_census_that_is_stopped(number: signal.Signals, tmp_path: Path) -> None:
    """Stopped in the middle it takes everything with it: server, workers and files."""
    command = [sys.executable, str(CENSUS), "--workers", "2"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as census:
        assert census.stdout is not None
        for line in census.stdout:
            if "in work" in line:
                break
        census.send_signal(number)
        census.communicate(timeout=60)
    assert census.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


def test_wrong_options() -> None:
    """A census of nothing, or without workers to spare, is refused."""
    for options in (["--files", "0"], ["--workers", "1"], ["--root", str(EXAMPLES / "nothing")]):
        done = subprocess.run([sys.executable, str(CENSUS), *options], capture_output=True, text=True, timeout=30)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr


async def test_the_web_application(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A report that is ordered comes, from the worker beside the requests; one that nobody ordered is not there."""
    monkeypatch.setenv("FLASHQ_URL", url)
    spec = importlib.util.spec_from_file_location("fastapi_app", EXAMPLES / "fastapi_app" / "main.py")
    assert spec is not None
    assert spec.loader is not None
    main = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "fastapi_app", main)
    spec.loader.exec_module(main)
    transport = httpx.ASGITransport(app=main.api)
    async with (
        main.api.router.lifespan_context(main.api),
        httpx.AsyncClient(transport=transport, base_url="http://shop") as client,
    ):
        ordered = await client.post("/reports", params={"topic": "bees"})
        assert ordered.status_code == 202
        where = f"/reports/{ordered.json()['id']}"
        finished = await client.get(where, params={"wait_ms": 10_000})
        assert finished.json() == {
            "state": "completed",
            "report": "All about bees",
        }
        assert (await client.get("/reports/999")).status_code == 404


Manage = Callable[..., str]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A copy of the Django project, for it makes files."""
    return Path(shutil.copytree(EXAMPLES / "django_app", tmp_path / "django_app"))


@pytest.fixture
def manage(project: Path, url: str) -> Manage:
    """Runs a management command; gives what it printed."""

    def manage(*words: str) -> str:
        return run(str(project / "manage.py"), *words, FLASHQ_URL=url)

    return manage


def thanked(manage: Manage) -> list[str]:
    """The guests, as soon as all of them have been thanked, or when that takes too long."""
    deadline = time.monotonic() + 60
    while "not thanked" in (guests := manage("guests")) and time.monotonic() < deadline:
        pass
    return guests.splitlines()


@pytest.mark.parametrize(
    "options",
    [
        ["--no-reload"],
        pytest.param(["--reload"], marks=pytest.mark.slow),
        pytest.param(["--no-reload", "--executor=process", "-c1"], marks=pytest.mark.slow),
    ],
)
def test_the_django_project(project: Path, manage: Manage, url: str, options: list[str]) -> None:
    """Guests are thanked by a worker that Django starts; one who was rolled back is neither there nor thanked."""
    manage("migrate")
    manage("sign", "Ada")
    manage("sign", "Bob", "--change-my-mind")
    assert manage("guests").splitlines() == ["Ada: not thanked yet"]
    command = [sys.executable, "-W", "error", str(project / "manage.py"), "flashq_worker", *options]
    environment = {**os.environ, "FLASHQ_URL": url}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as worker:
        try:
            assert thanked(manage) == ["Ada: Thank you, Ada!"]
            manage("sign", "Eve")
            assert thanked(manage) == ["Ada: Thank you, Ada!", "Eve: Thank you, Eve!"]
        finally:
            worker.send_signal(signal.SIGTERM)
            said = worker.communicate(timeout=60)[1]
    assert worker.returncode == 0, said
    with FlashQ(url) as client:
        assert [client.state(id) for id in (1, 2, 3)] == ["completed", "completed", "unknown"]
