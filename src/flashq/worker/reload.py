"""Noticing that source files changed, for ``--reload``.

Asks the file system every `POLL_MS` for the times of all source files: for some hundred files that is a few
milliseconds each time, works on every file system, also over a network or into a container, and needs no package.
Meant for the machine of a developer; a worker in production has nothing to watch.
"""

import ast
import asyncio
import logging
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

log = logging.getLogger("flashq.worker")

POLL_MS: Final = 500
"""How often to look: soon enough for somebody who has just saved a file and turns to the terminal."""

MAX_FILES: Final = 10_000
"""Files that are watched; more are not looked at. So many are a tree of packages, or the wrong folder."""

SUFFIX: Final = ".py"

SKIPPED: Final = frozenset({"__pycache__", "node_modules", "site-packages", "venv"})
"""Folders that hold what nobody edits; so do all whose name begins with a dot."""

Times = dict[str, int]
"""Path -> when it was written, ns."""


class Watch:
    """The source files under some folders, as they were when last looked at.

    Args:
        paths: folders, with all ``*.py`` in and below them, or single files of any kind.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = [path.resolve() for path in paths]
        self._seen = self._look()
        if len(self._seen) >= MAX_FILES:
            log.warning("only %d source files are watched for changes, and there are more", MAX_FILES)

    def changed(self) -> list[Path]:
        """What was written, made or removed since the last call."""
        before, self._seen = self._seen, self._look()
        names = {name for name, _ in before.items() ^ self._seen.items()}
        return sorted(Path(name) for name in names)

    async def next_change(self) -> list[Path]:
        """Wait until something changes and then nothing for one look: an editor or a checkout writes many files."""
        found: set[Path] = set()
        while True:
            await asyncio.sleep(POLL_MS / 1_000)
            now = self.changed()
            if found and not now:
                return sorted(found)
            found.update(now)

    def _look(self) -> Times:
        times: Times = {}
        for path in self._paths:
            for name, written in _files(path):
                times[name] = written
                if len(times) >= MAX_FILES:
                    return times
        return times


def _files(path: Path) -> Iterator[tuple[str, int]]:
    """Every file to watch with its time. What vanishes while we look is not there."""
    if not path.is_dir():
        try:
            yield str(path), path.stat().st_mtime_ns
        except OSError:
            return
    folders = [str(path)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                inside = list(entries)
        except OSError:
            continue
        for entry in inside:
            try:
                if entry.name.endswith(SUFFIX):
                    yield entry.path, entry.stat().st_mtime_ns
                elif (
                    not entry.name.startswith(".") and entry.name not in SKIPPED and entry.is_dir(follow_symlinks=False)
                ):
                    folders.append(entry.path)
            except OSError:
                continue


def faults(paths: Iterable[Path]) -> list[str]:
    """Which of these source files cannot be parsed, and why: starting anew with them would only end what runs."""
    found = []
    for path in paths:
        if path.suffix != SUFFIX:
            continue
        try:
            ast.parse(path.read_bytes(), str(path))
        except (SyntaxError, ValueError) as error:
            found.append(f"{path}: {error}")
        except OSError:  # removed: whether that matters, the import tells
            continue
    return found
