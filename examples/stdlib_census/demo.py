"""A census of Python's standard library, done as jobs.

Some jobs find its files, most of two thousand. One job for each file then parses it, counts its lines and functions and
finds the most complex ones; for every hundred of them one adds up, one adds up the sums, and one prints the report. All
of these are enqueued in one request, and each waits for those before it and gets their results.

Not everything goes well. One file is not there at first: its job is tried three times and ends as a dead letter, and
the report waits until the file is put in place and the job retried. The printer needs a second attempt. And in the
middle one of the worker processes is killed.

    python examples/stdlib_census/demo.py                # all files, a worker process for each core
    python examples/stdlib_census/demo.py --files 200 --workers 2

It starts a server of its own, with the defaults of a real one: a database on disk, every ok synced. Nothing of it is
left behind.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

from census import add_up, app, count, find, publish

from flashq import FlashQError, chain, chord
from flashq.tasks import Flow

Process: TypeAlias = "subprocess.Popen[bytes]"

HERE = Path(__file__).parent
PART = 100  # results that are added up by one job
FIRST = 1_000_000  # a priority above that of any file
MOST_FILES = 9_000  # a flow has at most 10,000 jobs
PATIENCE_MS = 60_000
SHOW_S = 2


def main() -> None:
    """Run the demo."""
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a kill cleans up as well
    with tempfile.TemporaryDirectory(prefix="flashq-census-") as name:
        folder = Path(name)
        with server(folder) as os.environ["FLASHQ_URL"], workers(folder, options.workers) as crew, app:
            run(options, folder, crew)


def run(options: argparse.Namespace, folder: Path, crew: Process) -> None:
    """Take the census, and show it."""
    began = time.perf_counter()
    files = find_files(options.root, options.files)
    missing, page = folder / "not_there_yet.py", folder / "report.txt"
    flow = enqueue([*files, missing], options.root, page)
    follow(flow, missing, crew)
    print(f"\n{page.read_text()}")
    total, seconds = app.client.metrics().total_pushed, time.perf_counter() - began
    print(f"{total} jobs in {seconds:.1f} s with {options.workers} worker processes")
    print("each job and each result was synced to disk before the server said ok")


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A census of Python's standard library, done as jobs.")
    parser.add_argument("--files", type=int, help="only so many files, the largest ones")
    parser.add_argument("--workers", type=int, default=max(2, os.cpu_count() or 2), help="processes; one for each core")
    parser.add_argument("--root", type=Path, default=Path(sysconfig.get_path("stdlib")), help="another folder")
    options = parser.parse_args()
    if options.workers < 2 or (options.files is not None and options.files < 1):
        parser.error("there must be at least one file, and two workers: one of them is killed")
    if not options.root.is_dir():
        parser.error(f"there is no folder {options.root}")
    return options


# --- jobs ---


def find_files(root: Path, most: int | None) -> list[Path]:
    """The files below a folder, the largest first. One job for each folder in it: `map` enqueues them all at once."""
    patterns = ["*.py", *(f"{folder.name}/**/*.py" for folder in root.iterdir() if folder.is_dir())]
    jobs = find.starmap((root, pattern) for pattern in patterns)
    found = [path for job in jobs for path in job.result(PATIENCE_MS)]
    print(f"{len(found)} files found by {len(jobs)} jobs")
    return sorted(found, key=lambda path: path.stat().st_size, reverse=True)[: min(most or MOST_FILES, MOST_FILES)]


def enqueue(files: Sequence[Path], root: Path, page: Path) -> Flow:
    """The whole census in one request: count, add up by hundreds, add up the sums, print."""
    counts = [count.options(priority=size_of(path)).si(path, root) for path in files]
    parts = [chord(counts[at : at + PART], add_up.s()) for at in range(0, len(counts), PART)]
    began = time.perf_counter()
    flow = chain(chord(parts, add_up.s()), publish.s(page)).delay()
    took = (time.perf_counter() - began) * 1000
    print(f"{len(flow.jobs)} jobs enqueued in {took:.0f} ms, all of them on disk with what waits for what")
    return flow


def size_of(path: Path) -> int:
    """A priority: the large ones first, and what is missing before all."""
    return path.stat().st_size // 1024 if path.exists() else FIRST


def follow(flow: Flow, missing: Path, crew: Process) -> None:
    """Watch until the report is printed; do what a person would do meanwhile, and something that nobody should."""
    printed, shown_at, killed = flow.last[0], 0.0, False
    began_with = app.client.stats().completed
    while printed.state() != "completed":
        if crew.poll() is not None:
            raise FlashQError("the workers have ended")
        stats = app.client.stats()
        done = stats.completed - began_with
        if time.monotonic() - shown_at >= SHOW_S:
            shown_at = time.monotonic()
            print(f"  {done} jobs done, {stats.processing} in work, dead letters: {stats.dlq}", flush=True)
        if not killed and done >= len(flow.jobs) // 4:
            killed = True
            kill_a_worker()
        if stats.dlq and not (stats.queued or stats.processing or stats.delayed):
            repair(missing)
        time.sleep(0.02)
    print(f"  {len(flow.jobs)} jobs done, the last one says: {printed.progress().message}")


def kill_a_worker() -> None:
    """As the kernel does when memory runs out: what it held is tried again, and another process takes its place."""
    pid = app.client.workers()[0].pid
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        print(f"  killed worker process {pid} in the middle of its work")


def repair(missing: Path) -> None:
    """Look at the dead letters, remove the cause, run them again."""
    if missing.exists():
        sys.exit(f"given up: {app.client.dead_letters('census')[0].progress_msg}")
    for letter in app.client.dead_letters("census"):
        sentence = (letter.progress_msg or "").partition("\n")[0]
        print(f"  dead letter: job {letter.id} after {letter.attempts} attempts: {sentence}")
    missing.write_text("def better_late_than_never() -> bool:\n    return True\n")
    print(f"  {app.client.retry_dead_letters('census')} dead letter retried, now that its file is there")


# --- processes ---


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """A server on a free port, while the block runs; gives its URL."""
    command = [sys.executable, "-m", "flashq", "serve", "--json", "--host", "127.0.0.1", "--port", "0"]
    command += ["--database-url", f"sqlite:///{folder}/flashq.db", "--data-dir", str(folder), "--durability", "full"]
    ours = {name: value for name, value in os.environ.items() if name not in {"AUTH_TOKENS", "UNIX_SOCKET"}}
    with running(command, stdout=subprocess.PIPE, env=ours) as process:
        assert process.stdout is not None
        line = process.stdout.readline()  # it says so once when it is ready
        if not line:
            sys.exit("the server did not start")
        ready = json.loads(line)
        print(f"server on port {ready['port']}, durability {ready['durability']}: {ready['storage']}")
        if ready["http_port"]:
            print(f"what it can be asked, and its events as they happen: http://127.0.0.1:{ready['http_port']}/docs")
        yield f"flashq://127.0.0.1:{ready['port']}"


@contextmanager
def workers(folder: Path, count: int) -> Iterator[Process]:
    """Worker processes and the one that looks after them, while the block runs: one command."""
    command = [sys.executable, "-m", "flashq", "worker", "census:app", "--processes", str(count), "-c", "1"]
    log = folder / "worker.log"
    with log.open("wb") as stderr, running(command, stderr=stderr, cwd=HERE) as process:
        try:
            yield process
        except FlashQError as error:
            sys.exit(f"given up: {error}; the workers' log ends with\n{log.read_text()[-2_000:]}")


@contextmanager
def running(
    command: Sequence[str],
    *,
    stdout: int | None = None,
    stderr: IO[bytes] | None = None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
) -> Iterator[Process]:
    """A process, while the block runs; then it is asked to leave, and waited for."""
    # In a session of its own, so that Ctrl-C reaches only us, and we stop things in the right order.
    process: Process = subprocess.Popen(command, start_new_session=True, stdout=stdout, stderr=stderr, env=env, cwd=cwd)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
