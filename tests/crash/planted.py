"""``flashq serve`` with a bug planted in it: what the tests of killed servers must notice, or they prove nothing.

Run as ``python -m tests.crash.planted BUG serve``.
"""

import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import apsw
from tests.crash.careless import CARELESS

from flashq.cli.main import main
from flashq.engine.records import Happened
from flashq.server.runtime import Runtime
from flashq.storage import backup, checksums
from flashq.storage.fold import Fold
from flashq.storage.journal import Journal
from flashq.storage.postgres import PostgresStorage
from flashq.storage.postgres_session import Away
from flashq.storage.sqlite import SqliteStorage
from flashq.storage.windows import Windows


def answers_leave_before_the_disk() -> None:
    """No answer depends on any group, so all leave at once; the disk is slow, or few kills would come in between."""
    gather = Runtime.gather

    def gather_and_forget(self: Runtime) -> int:
        gather(self)
        return 0

    Runtime.gather = gather_and_forget  # type: ignore[method-assign]
    for storage in (SqliteStorage, PostgresStorage):
        storage.commit = _slowly(storage.commit)  # type: ignore[attr-defined]


def _slowly(commit: Callable[[Any, int, bytes], None]) -> Callable[[Any, int, bytes], None]:
    def commit_late(self: Any, number: int, blob: bytes) -> None:
        time.sleep(0.05)
        commit(self, number, blob)

    return commit_late


def the_tail_is_skipped() -> None:
    """Recovery reads the tables and not the journal behind them."""

    def nothing(self: Windows) -> Fold:
        fold = Fold(self._tables.meta.next_id)
        fold.settle()
        return fold

    Windows.fold_tail = nothing  # type: ignore[method-assign]


def some_history_is_lost() -> None:
    """Of the records of a turn those of the history are journaled in three turns of four."""
    append = Journal.append
    turns = iter(range(sys.maxsize))

    def append_less(self: Journal, records: list[object]) -> None:
        skip = next(turns) % 4 == 0
        append(self, [record for record in records if not (skip and isinstance(record, Happened))])  # type: ignore[misc]

    Journal.append = append_less  # type: ignore[method-assign, assignment]


def lost_commits_are_believed() -> None:
    """A connection to the database that breaks in a commit is taken for one that broke after it."""

    def believe(self: PostgresStorage, work: Callable[[], object]) -> object:
        try:
            return work()
        except Away as away:
            self._come_back(away)
            return None

    PostgresStorage._steadily = believe  # type: ignore[method-assign, assignment]


def backups_are_copies_of_the_file() -> None:
    """What a person would do: copy the file of the database in pieces, while the server writes it."""

    def copied(source: apsw.Connection, part: Path) -> Iterator[None]:
        with Path(source.filename).open("rb") as live, part.open("wb") as copy:
            while piece := live.read(backup.STEP_PAGES * 4096):
                copy.write(piece)
                yield

    backup._copied = copied  # type: ignore[assignment]


def backups_miss_what_is_committed_meanwhile() -> None:
    """Each step copies pages as they are at that moment, log and all; none is copied again when it changes."""

    def copied(source: apsw.Connection, part: Path) -> Iterator[None]:
        size, step = len(source.serialize("main")), backup.STEP_PAGES * 4096
        with part.open("wb") as copy:
            for place in reversed(range(0, size, step)):  # the roots of the trees, which change most, come last
                copy.seek(place)
                copy.write(source.serialize("main")[place : place + step])
                yield

    checksums.vfs = lambda: None  # type: ignore[assignment]  # which would notice it by themselves
    backup._copied = copied  # type: ignore[assignment]


def backups_never_end() -> None:
    """A backup goes on and on behind its first step, as one of a very large database does."""
    whole = backup._copied

    def copied(source: apsw.Connection, part: Path) -> Iterator[None]:
        for _ in whole(source, part):
            while True:
                time.sleep(0.001)
                yield

    backup.STEP_PAGES = 1  # type: ignore[misc]
    backup._copied = copied  # type: ignore[assignment]


PLANTED: Final[dict[str, Callable[[], None]]] = CARELESS | {
    plant.__name__: plant
    for plant in (
        answers_leave_before_the_disk,
        the_tail_is_skipped,
        some_history_is_lost,
        lost_commits_are_believed,
        backups_are_copies_of_the_file,
        backups_miss_what_is_committed_meanwhile,
        backups_never_end,
    )
}


def command(bug: str) -> tuple[str, ...]:
    """The command of a server with this bug."""
    assert bug in PLANTED
    return (sys.executable, "-m", "tests.crash.planted", bug, "serve")


if __name__ == "__main__":
    PLANTED[sys.argv.pop(1)]()
    main()
