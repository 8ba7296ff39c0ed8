"""The tasks of the census: what its jobs do. The worker imports this module; so does whoever enqueues."""

import sys
from pathlib import Path

from figures import Figures, measure, merge, report

from flashq import App, Context

app = App(default_queue="census")  # on the server that FLASHQ_URL names

FOREIGN = {"site-packages", "dist-packages", "__pycache__"}


@app.task
def find(root: Path, pattern: str) -> list[Path]:
    """The files of a folder, without what was installed beside them."""
    return [path for path in root.glob(pattern) if path.is_file() and not FOREIGN.intersection(path.parts)]


@app.task(max_attempts=3, backoff=100)
def count(path: Path, root: Path) -> Figures:
    """Count one file."""
    return measure(path, root)


@app.task
def add_up(parts: list[Figures]) -> Figures:
    """The figures of many files, or of many parts, in one."""
    return merge(parts)


@app.task(max_attempts=3, backoff=200)
def publish(job: Context, figures: Figures, page: Path) -> int:
    """Write the report, on a printer that never works at once."""
    if job.attempt == 1:
        raise ConnectionError("the printer is still warming up")
    lines = report(figures, f"{sys.version_info.major}.{sys.version_info.minor}")
    with page.open("w") as paper:
        for number, line in enumerate(lines, 1):
            print(line, file=paper)
            job.progress(100 * number // len(lines), f"line {number} of {len(lines)}")
    return len(lines)
