"""Every call to the system is a moment at which a process can be killed, or at which its disk can fail.

A run without a fault, under strace, lists the calls that concern the databases of `tests.crash.life`. Any of them can
then be made the last one of a life, or fail; and what is left is compared with what an independent model says that so
many groups amount to. Everything is the same each time but the fault, so two words name a point: ``pwrite64 17``.
"""

import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import msgspec
from tests.conformance.storage import History, Seen, answered, asked, long_history, questions, seen
from tests.crash.life import BACKUP_AFTER, BACKUPS, EXIT_START, EXIT_STORAGE, LIVES, NEW, OLD, OLD_GROUPS, backups_of

from flashq.errors import StorageError
from flashq.storage.schema import APPLICATION_ID, migrate, steps
from flashq.storage.sqlite import SqliteStorage

ROOT: Final = Path(__file__).parents[2]
IN_MEMORY: Final = next((folder for folder in ("/dev/shm",) if Path(folder).is_dir()), None)
"""A folder whose syncs cost nothing, if there is one: processes are killed here, the machine is not."""

CALLS: Final = ("pwrite64", "write", "fdatasync", "fsync", "ftruncate", "unlink", "rename", "openat")
RUN_SECONDS: Final = 30
_CALL: Final = re.compile(r"(?:\d+ +)?(\w+)\((.*)")


class Point(NamedTuple):
    """The ``number``-th call of this name of a life; ``file`` is what it concerns, below the folder of the life."""

    call: str
    number: int
    file: str


class State(NamedTuple):
    """What a database must hold after so many groups: its rows, and what it answers about its ``past`` entries."""

    rows: Seen
    past: int
    answers: list[Any]


class Groups:
    """What is committed, and what it amounts to; the same for the same seed.

    Attributes:
        blobs: the groups, from number 1.
        states: by number of groups; 0 is an empty database.
    """

    def __init__(self, seed: int) -> None:
        most = max(last for *_, last in LIVES) + 1
        history = History()
        self.blobs: list[bytes] = []
        self.states = [self._state(history)]
        for step in long_history(seed, 100 * most):
            if isinstance(step, tuple):
                history.step(*step)
            elif step in ("commit", "crash", "close") and history.turn:
                self.blobs.append(history.take())
                self.states.append(self._state(history))
                if len(self.blobs) == most:
                    return
        raise AssertionError("the history is too short")

    def _state(self, history: History) -> State:
        past = len(history.model.trail)
        return State(seen(history.model.snapshot()), past, answered(history.model, *questions(past)))


class Run(NamedTuple):
    """A life that has ended."""

    folder: Path
    exit_code: int
    notes: list[tuple[str, str, int]]
    said: str


class Stage:
    """Where lives are played: one at a time, each from the same beginning."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._calls = folder / "calls"
        self._groups = Groups(seed)
        self._blobs = folder / "groups"
        self._blobs.write_bytes(msgspec.msgpack.encode(self._groups.blobs))
        self._beginning = folder / "beginning"
        self._make_old_database(self._beginning / OLD)
        (self._beginning / BACKUPS).mkdir()

    def points(self) -> list[Point]:
        """Every call of a life that concerns its databases, found in a life without a fault."""
        self.play()  # whatever has to be compiled is, and from now on every life makes the same calls
        run = self.play(("-y", f"-o{self._calls}", f"-etrace={','.join(CALLS)}"))
        assert run.exit_code == 0, run
        self.judge(run)
        assert [what for _, what, _ in run.notes].count("backed up") == 1
        counts: Counter[str] = Counter()
        found = []
        for line in self._calls.read_text(errors="replace").splitlines():
            if call := _CALL.match(line):
                counts[call[1]] += 1
                if concerns := re.search(rf"{run.folder}/([\w./-]+)", call[2]):
                    found.append(Point(call[1], counts[call[1]], concerns[1]))
        return found

    def killed_at(self, point: Point, careless: str = "") -> Run:
        """A life that is killed as it is about to make this call."""
        return self._with_fault(point, "signal=SIGKILL", f"{point.number}", careless)

    def failing_at(self, point: Point, error: str, *, once: bool, careless: str = "") -> Run:
        """A life in which this call fails, and, unless ``once``, every later one of its name."""
        when = f"{point.number}" if once else f"{point.number}+"
        return self._with_fault(point, f"error={error}", when, careless, "--seccomp-bpf")

    def play(self, tracing: Sequence[str] = (), careless: str = "", before: Sequence[str] = ()) -> Run:
        """A life from the beginning. Args: ``tracing``: options of strace; ``before``: other words in front."""
        data, notes = self._folder / "data", self._folder / "notes"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(self._beginning, data)
        notes.unlink(missing_ok=True)
        words = ("strace", "-f", "-qq", *tracing) if tracing else before
        done = subprocess.run(
            [*words, sys.executable, "-S", "-m", "tests.crash.life", str(data), str(self._blobs), str(notes), careless],
            cwd=ROOT,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": ":".join(sys.path[1:]), "PYTHONHASHSEED": "0"},
            capture_output=True,
            timeout=RUN_SECONDS,
            text=True,
        )
        lines = notes.read_text().splitlines() if notes.exists() else []
        told = [(name, " ".join(what), int(number)) for name, *what, number in map(str.split, lines)]
        return Run(data, done.returncode, told, done.stdout + done.stderr)

    def judge(self, run: Run) -> None:
        """Fails unless everything that was told ok is there, nothing that was never begun, and life goes on."""
        assert "Traceback" not in run.said, run.said[-2_000:]
        assert run.exit_code in (0, EXIT_START, EXIT_STORAGE, -signal.SIGKILL), run
        if run.exit_code == 0:
            assert [note for note in run.notes if note[1] == "closed"] == [
                (name, "closed", last) for name, _, last in LIVES
            ]
        for name, before in ((NEW, 0), (OLD, OLD_GROUPS)):
            told = [(what, number) for whose, what, number in run.notes if whose == name]
            assert "accepted" not in {what for what, _ in told}, f"{name}: accepted after a failure: {told[-3:]}"
            least = max([number for what, number in told if what == "ok"], default=before)
            most = max([number for what, number in told if what == "begin"], default=before)
            self._judge_one(run.folder / name / "flashq.db", least, most)
        backed_up = [number for _, what, number in run.notes if what == "backed up"]
        self._judge_backup(run, backed_up)

    def _judge_backup(self, run: Run, backed_up: list[int]) -> None:
        """What has the name of a backup is one; that which was told of is there, and of others nothing is left."""
        backups_of(run.folder / NEW / "flashq.db").clear()
        left = list((run.folder / BACKUPS / NEW).glob("*"))
        assert len(left) >= len(backed_up), "a backup is gone"
        for path in left:
            restored = run.folder / "restored" / "flashq.db"
            restored.parent.mkdir(mode=0o700)
            path.rename(restored)
            storage, number = _opened(restored)
            assert number >= BACKUP_AFTER
            assert number in (backed_up or [number]), f"the backup holds {number} groups, told {backed_up}"
            self._compare(storage, number)
            storage.close()

    def _judge_one(self, path: Path, least: int, most: int) -> None:
        storage, number = _opened(path)
        assert least <= number <= most, f"{path.parent.name}: {number} groups are there, told ok {least}, begun {most}"
        self._compare(storage, number)
        storage.commit(number + 1, self._groups.blobs[number])
        while storage.tidy(idle=True):
            pass
        self._compare_answers(storage, number + 1)
        storage.close()
        with apsw.Connection(str(path)) as connection:
            assert connection.pragma("integrity_check") == "ok"
        connection.close()
        storage, again = _opened(path)
        assert again == number + 1
        self._compare(storage, again)
        storage.close()

    def _compare(self, storage: SqliteStorage, number: int) -> None:
        assert seen(storage.load()) == self._groups.states[number].rows, f"other rows than after group {number}"
        self._compare_answers(storage, number)

    def _compare_answers(self, storage: SqliteStorage, number: int) -> None:
        _, past, answers = self._groups.states[number]
        assert asked(storage, *questions(past)) == answers, f"another past than after group {number}"

    def _with_fault(self, point: Point, fault: str, when: str, careless: str, *options: str) -> Run:
        """Signals cannot be injected with ``--seccomp-bpf``; without it every call of the process stops twice."""
        inject = f"-einject={point.call}:{fault}:when={when}"
        return self.play((*options, f"-o{self._calls}", f"-etrace={point.call}", inject), careless)

    def _make_old_database(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        old = apsw.Connection(str(folder / "flashq.db"))
        old.pragma("application_id", APPLICATION_ID)
        migrate(old, steps("sqlite")[:1])
        old.executemany("INSERT INTO journal VALUES (?, ?)", enumerate(self._groups.blobs[:OLD_GROUPS], 1))
        old.close()


@contextmanager
def stage(seed: int) -> Iterator[Stage]:
    """A stage that is gone afterwards."""
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        yield Stage(Path(folder), seed)


def every(points: Sequence[Point], step: int, seed: int) -> list[Point]:
    """Every ``step``-th point, beginning where the seed says; at least one of each call."""
    chosen = list(points[seed % step :: step])
    by_call: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        by_call[point.call].append(point)
    missing = by_call.keys() - {point.call for point in chosen}
    return chosen + [by_call[call][seed % len(by_call[call])] for call in sorted(missing)]


def finds(judge: Callable[[Run], None], runs: Iterable[Run]) -> bool:
    """Whether the judge condemns one of these runs: for controls."""
    for run in runs:
        try:
            judge(run)
        except (AssertionError, StorageError):
            return True
    return False


def _opened(path: Path) -> tuple[SqliteStorage, int]:
    steady = count(0, 300)
    storage = SqliteStorage(path, steady_ms=lambda: next(steady))
    return storage, storage.open()
