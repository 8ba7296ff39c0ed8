"""A census of Python's standard library, done as jobs.

One job for each of its files, most of two thousand: parse it, count its lines and functions, find the most complex
ones. One job for every hundred of these puts their results together, and one on top makes the report; each waits for
those it depends on. Three files are not there at first: their jobs fail, are tried again, and end as dead letters,
until the files are put in place and the dead letters are retried.

    python examples/stdlib_census/demo.py                # all files, a worker for each core
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
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

from figures import Figures
from msgspec import convert
from worker import QUEUE, Task

from flashq import FlashQ, JobRecord, JobSpec

try:
    from rich.progress import Progress
except ImportError:  # pretty where it is installed, plain lines elsewhere
    Progress = None  # type: ignore[assignment, misc]

Process: TypeAlias = "subprocess.Popen[bytes]"

HERE = Path(__file__).parent
PARENTS = 100  # a job may depend on so many others
FIRST = 1_000_000  # a priority above that of any file
MISSING = 3
MOST_FILES = 4_000  # the server remembers the results of the newest 5,000 jobs; a larger census would store them itself


def main() -> None:
    """Run the demo."""
    options = read_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a kill cleans up as well
    with tempfile.TemporaryDirectory(prefix="flashq-census-") as folder:
        missing = [Path(folder, f"not_there_yet_{number}.py") for number in range(1, MISSING + 1)]
        files = find_files(options.root, options.files)
        with ExitStack() as running:
            url = running.enter_context(server(Path(folder, "data")))
            queue = running.enter_context(FlashQ(url))
            began = time.perf_counter()
            report, total = push_census(queue, files, missing, options.root)
            print(f"{total} jobs pushed in {(time.perf_counter() - began) * 1000:.0f} ms, each of them on disk")
            crew = running.enter_context(workers(url, options.workers))
            letters = follow(queue, report, total, missing, crew)
            took = time.perf_counter() - began
            print_report(convert(queue.result(report), Figures), letters)
            print_server(queue, total, took, options.workers)


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description="A census of Python's standard library, done as jobs.")
    parser.add_argument("--files", type=int, help="only so many files, the largest ones")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes; one for each core")
    parser.add_argument("--root", type=Path, default=Path(sysconfig.get_path("stdlib")), help="another folder")
    options = parser.parse_args()
    if options.workers < 1 or (options.files is not None and options.files < 1):
        parser.error("there must be at least one file and one worker")
    return options


def find_files(root: Path, count: int | None) -> list[Path]:
    """The files of the library, without what was installed beside it; the largest first."""
    foreign = {"site-packages", "dist-packages", "__pycache__"}
    found = [path for path in root.rglob("*.py") if not foreign.intersection(path.parts) and path.is_file()]
    if not found:
        sys.exit(f"there is no Python file below {root}")
    return sorted(found, key=lambda path: path.stat().st_size, reverse=True)[: min(count or MOST_FILES, MOST_FILES)]


# --- processes ---


@contextmanager
def server(data: Path) -> Iterator[str]:
    """A server on a free port, while the block runs; gives its URL."""
    command = [sys.executable, "-m", "flashq", "serve", "--json", "--host", "127.0.0.1", "--port", "0"]
    command += ["--database-url", f"sqlite:///{data}/flashq.db", "--data-dir", str(data), "--durability", "full"]
    ours = {name: value for name, value in os.environ.items() if name not in {"AUTH_TOKENS", "UNIX_SOCKET"}}
    with running(command, stdout=subprocess.PIPE, env=ours) as process:
        assert process.stdout is not None
        line = process.stdout.readline()  # it says so once when it is ready
        if not line:
            sys.exit("the server did not start")
        ready = json.loads(line)
        print(f"server on port {ready['port']}, durability {ready['durability']}: {ready['storage']}")
        yield f"flashq://127.0.0.1:{ready['port']}"


@contextmanager
def workers(url: str, count: int) -> Iterator[list[Process]]:
    """Some workers, while the block runs."""
    command = [sys.executable, str(HERE / "worker.py"), url]
    with ExitStack() as all_of_them:
        yield [all_of_them.enter_context(running(command)) for _ in range(count)]


@contextmanager
def running(
    command: Sequence[str], *, stdout: int | None = None, env: dict[str, str] | None = None
) -> Iterator[Process]:
    """A process, while the block runs; then it is asked to leave, and waited for."""
    # In a session of its own, so that Ctrl-C reaches only us, and we stop things in the right order.
    process: Process = subprocess.Popen(command, start_new_session=True, stdout=stdout, env=env)
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


# --- jobs ---


def push_census(queue: FlashQ, files: list[Path], missing: list[Path], root: Path) -> tuple[int, int]:
    """Push all jobs.

    Returns:
        The id of the report, and how many jobs there are.
    """
    ids: list[int] = []
    specs = [file_job(path, root, FIRST) for path in missing]
    specs += [file_job(path, root, path.stat().st_size // 1024) for path in files]  # the large ones first
    for some in chunks(specs, 10_000):
        ids += queue.push_batch(QUEUE, some)
    total = len(ids)
    # A tree of summaries: a hundred results each, until one is left.
    while True:
        parents = [list(some) for some in chunks(ids, PARENTS)]
        ids = queue.push_batch(QUEUE, [summary_job(some) for some in parents])
        total += len(ids)
        if len(ids) == 1:
            return ids[0], total


def file_job(path: Path, root: Path, priority: int) -> JobSpec:
    """A file to measure: three attempts, the second 200 ms and the third another 400 ms later."""
    return JobSpec(data=Task(file=str(path), root=str(root)), priority=priority, max_attempts=3, backoff=200)


def summary_job(parts: list[int]) -> JobSpec:
    """Results to put together, as soon as they are all there."""
    return JobSpec(data=Task(parts=parts), depends_on=parts, priority=FIRST)


def chunks(things: list[Any], size: int) -> Iterator[list[Any]]:
    """A list cut into pieces of at most ``size``."""
    return (things[at : at + size] for at in range(0, len(things), size))


def follow(queue: FlashQ, report: int, total: int, missing: list[Path], crew: list[Process]) -> list[JobRecord]:
    """Watch until the report is there. Where nothing moves any more because of dead letters, put them right.

    Returns:
        The dead letters that there were.
    """
    letters: list[JobRecord] = []
    with progress(total) as update:
        while queue.state(report) != "completed":
            stats = queue.stats()
            update(stats.completed, f"{stats.processing} in work, {stats.delayed} to be retried, {stats.dlq} dead")
            if stats.dlq and not (stats.queued or stats.processing or stats.delayed):
                if letters:
                    sys.exit(f"given up: {queue.dead_letters(QUEUE)[0].progress_msg}")
                letters = queue.dead_letters(QUEUE)
                repair(queue, missing)
            if all(worker.poll() is not None for worker in crew):
                sys.exit("given up: all workers have ended")
            time.sleep(0.1)
        update(total, "done")
    return letters


def repair(queue: FlashQ, missing: list[Path]) -> None:
    """What a person would do: look at the dead letters, remove the cause, run them again."""
    for path in missing:
        path.write_text("def better_late_than_never() -> bool:\n    return True\n")
    queue.retry_dead_letters(QUEUE)


# --- what is shown ---


@contextmanager
def progress(total: int) -> Iterator[Callable[[int, str], None]]:
    """A bar where somebody looks, otherwise a line now and then; gives what to call with news."""
    if Progress is not None and sys.stdout.isatty():
        with Progress() as bar:
            task = bar.add_task("census", total=total)
            yield lambda done, text: bar.update(task, completed=done, description=text)
        return
    shown_at = 0.0

    def show(done: int, text: str) -> None:
        nonlocal shown_at
        if time.monotonic() - shown_at >= 1 or done == total:
            shown_at = time.monotonic()
            print(f"  {done} of {total} jobs done; {text}", flush=True)

    yield show


def print_report(figures: Figures, letters: list[JobRecord]) -> None:
    """What the census found."""
    print(f"\n{figures.files:,} files, {figures.lines:,} lines, {figures.functions:,} functions")
    average = figures.complexity / max(1, figures.functions)
    print(f"cyclomatic complexity: {average:.1f} on average; the most complex functions:")
    for one in figures.worst:
        print(f"  {one.complexity:4}  {one.lines:5} lines  {one.name}  ({one.file}:{one.line})")
    longest = figures.longest[0] if figures.longest else None
    if longest is not None:
        print(f"longest function: {longest.name}, {longest.lines:,} lines ({longest.file}:{longest.line})")
    print(f"slowest files: {', '.join(f'{one.file} {one.ms} ms' for one in figures.slowest)}")
    print(f"{len(figures.broken)} files are not Python {sys.version_info.major}.{sys.version_info.minor}:")
    for text in figures.broken:
        print(f"  {text[:100]}")
    print(f"{len(letters)} dead letters, retried and done once their files were there:")
    for letter in letters:
        print(f"  job {letter.id} after {letter.attempts} attempts: {letter.progress_msg}")


def print_server(queue: FlashQ, total: int, seconds: float, workers: int) -> None:
    """What the server has to say about it."""
    metrics = queue.metrics()
    print(f"\n{total} jobs in {seconds:.1f} s with {workers} workers: {total / seconds:,.0f} jobs/s")
    print(
        f"the server counts {metrics.total_pushed} jobs pushed, {metrics.total_completed} completed, "
        f"{metrics.total_failed} dead letters, {metrics.jobs_per_second:.0f} jobs/s over the last minute, "
        f"{metrics.avg_latency_ms / 1000:.1f} s from push to completion on average"
    )
    print("durability full: each job and each result was synced to disk before the server said ok")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
