"""A data folder that was killed in the midst of its work, and what may be found in it after its files were damaged.

The folder holds all that a folder can: groups folded into the tables and moved into the database, groups folded into
tables that are still in the log, groups in the journal alone, some of them not confirmed by the high-water file yet.
"""

from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Final

import apsw
from tests.conformance.storage import History, Seen, answered, asked, long_history, seen

from flashq.engine.trail import JobHistory, Operations, Question
from flashq.errors import StorageError
from flashq.storage.sqlite import SqliteStorage

NAME: Final = "flashq.db"
FILES: Final = ("flashq.db", "flashq.db-wal", "flashq.db.highwater", "flashq.db.lock")
FRAME_BYTES: Final = 24 + 4_096
LOG_HEAD_BYTES: Final = 32

STEPS_A_GROUP: Final = 4
MOVED, FOLDED, CONFIRMED = 0.88, 0.92, 0.97
"""How much of the history is in the database itself; in its tables; and known to the high-water file."""
EARLIER: Final = (30, 60, 99)
"""Groups after which a copy of the files is kept."""

Files = dict[str, bytes]


@dataclass
class Source:
    """A folder as it was left.

    Attributes:
        files: their content.
        states: by group, what must be found when it is the newest one.
        answers: by group, what is answered about the past.
        confirmed: the newest group that the high-water file knows.
        stages: the files as they were earlier.
    """

    files: Files = field(default_factory=dict)
    states: dict[int, Seen] = field(default_factory=dict)
    answers: dict[int, list[object]] = field(default_factory=dict)
    confirmed: int = 0
    stages: list[Files] = field(default_factory=list)

    @property
    def newest(self) -> int:
        """The newest group."""
        return max(self.states)


class Clock:
    """A steady clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        """The time in ms."""
        return self.now


def killed_in_the_midst(folder: Path, seed: int) -> Source:
    """Write a folder from random steps and leave it without a word."""
    clock, source, history = Clock(), Source(), History()
    storage = SqliteStorage(folder / NAME, steady_ms=clock)
    storage.open()
    list(storage.load().jobs)
    _note(source, history, 0)
    steps = [step for step in long_history(seed, 1_200) if not isinstance(step, str)]
    for number, first in enumerate(range(0, len(steps), STEPS_A_GROUP), 1):
        for step in steps[first : first + STEPS_A_GROUP]:
            history.step(*step)
        storage.commit(number, history.take())
        _note(source, history, number)
        part = first / len(steps)
        while part < FOLDED and storage.tidy(idle=True):
            pass
        if part < MOVED and number % 10 == 0:
            storage._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
        if number in EARLIER:
            source.stages.append(files_of(folder))
        if part < CONFIRMED:
            clock.now += 10_000
            storage.tidy(idle=False)
            source.confirmed = number
    source.files = files_of(folder)
    storage._held.close()
    assert source.confirmed < source.newest
    return source


def _note(source: Source, history: History, number: int) -> None:
    source.states[number] = seen(history.model.snapshot())
    source.answers[number] = answered(history.model, *_past())


def files_of(folder: Path) -> Files:
    """What is in a folder's files."""
    return {name: (folder / name).read_bytes() for name in FILES if (folder / name).exists()}


def lay_out(folder: Path, files: Files) -> Path:
    """Write these files, and no others, into the folder."""
    folder.mkdir(exist_ok=True)
    for path in folder.iterdir():
        if path.name not in files:
            path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def judge(folder: Path, source: Source, confirmed: int, what: str) -> str:
    """Open what is in the folder. Anything but a whole prefix or a plain refusal is an error of the product.

    Args:
        folder: with files that were perhaps damaged.
        source: what they were before.
        confirmed: no group up to here may be missing.
        what: was done to them.

    Returns:
        ``whole``, ``prefix``: newer groups, which nobody had confirmed, are missing; or ``refused``.
    """
    before = _content(folder)
    storage = SqliteStorage(folder / NAME, steady_ms=lambda: 0)
    try:
        newest = storage.open()
        found = seen(storage.load())
        told = asked(storage, *_past())
    except StorageError as error:
        sentence = str(error)
        assert str(folder) in sentence, f"{what}: the refusal names no file: {sentence}"
        assert "\n" not in sentence, f"{what}: the refusal is no plain sentence: {sentence}"
        assert _content(folder) == before, f"{what}: refused, and changed nevertheless"
        return "refused"
    finally:
        storage._held.close()
    assert newest >= confirmed, f"{what}: groups {newest + 1} to {confirmed} are gone without a word"
    assert found == source.states[newest], f"{what}: not what was there after group {newest}"
    assert told == source.answers[newest], f"{what}: not the past that there was after group {newest}"
    return "whole" if newest == source.newest else "prefix"


def _content(folder: Path) -> Files:
    """What matters of a folder: the lock is not looked at, and an empty log is like none."""
    return {name: content for name, content in files_of(folder).items() if content and name != FILES[3]}


def _past() -> list[Question]:
    """Questions about the past."""
    return [JobHistory(1), JobHistory(40), Operations(0, 1_000, 0)]


def flipped(files: Files, dice: Random) -> tuple[Files, str]:
    """One damage at random: a bit, a few bytes or a sector, in one of the files."""
    name = dice.choices(FILES, (8, 8, 2, 1))[0]
    content = bytearray(files.get(name) or bytes(16))
    kind = dice.choices(("bit", "bytes", "sector"), (6, 2, 2))[0]
    place = dice.randrange(len(content))
    if kind == "bit":
        content[place] ^= 1 << dice.randrange(8)
    elif kind == "bytes":
        content[place : place + dice.randint(2, 16)] = dice.randbytes(dice.randint(2, 16))
    else:
        place -= place % 512
        content[place : place + 512] = bytes(len(content[place : place + 512]))
    return files | {name: bytes(content)}, f"{kind} at {place} of {name}"
