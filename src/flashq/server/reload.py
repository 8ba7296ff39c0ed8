"""Files that may change while the server runs: the tokens, the certificate.

They are looked at once a second. That is one system call a file, works on every file system, and needs no library; a
signal asks for the same at once. A file that cannot be used is logged loudly and what was read before stays: the
server that runs is worth more than the file that was just broken.
"""

import logging
from asyncio import AbstractEventLoop, TimerHandle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

log = logging.getLogger("flashq")

EVERY_S: Final = 1.0
"""How often to look: what was withdrawn has ended well within the five seconds that are promised."""

Mark = tuple[int, int, int] | None
"""What tells one content of a file from another; None when it is not there."""


class _Watched(Struct):
    what: str
    paths: Sequence[Path]
    load: Callable[[], None]
    marks: list[Mark]


class Reloads:
    """Loads again what has changed."""

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._watched: list[_Watched] = []
        self._timer: TimerHandle | None = None

    def add(self, what: str, paths: Sequence[Path], load: Callable[[], None]) -> None:
        """Watch files from now on.

        Args:
            what: they are, for the log.
            paths: of the files; they may be missing, until they are there.
            load: reads them all; a ValueError or OSError says why it could not.
        """
        self._watched.append(_Watched(what, paths, load, _marks(paths)))
        if self._timer is None:
            self._timer = self._loop.call_later(EVERY_S, self._look)

    def stop(self) -> None:
        """Look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def now(self) -> None:
        """Load everything again that is there, changed or not."""
        for watched in self._watched:
            marks = _marks(watched.paths)
            if any(marks) or any(watched.marks):
                self._load(watched, marks)

    def _look(self) -> None:
        self._timer = self._loop.call_later(EVERY_S, self._look)
        for watched in self._watched:
            marks = _marks(watched.paths)
            if marks != watched.marks:
                self._load(watched, marks)

    def _load(self, watched: _Watched, marks: list[Mark]) -> None:
        watched.marks = marks
        try:
            watched.load()
        except (ValueError, OSError) as error:
            log.error("%s not reloaded, those from before stay: %s", watched.what, error)  # noqa: TRY400
        else:
            log.info("%s reloaded", watched.what)


def _marks(paths: Sequence[Path]) -> list[Mark]:
    return [_mark(path) for path in paths]


def _mark(path: Path) -> Mark:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
