"""Files that were cut, altered, swapped or taken away: all of it is there, or it is told; never a word less.

What nobody confirmed may be missing, as after a crash. ``FLASHQ_FLIPS`` sets how many random damages are tried,
``FLASHQ_SEED`` which.
"""

import os
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from tests.crash.damage import (
    FILES,
    FRAME_BYTES,
    LOG_HEAD_BYTES,
    NAME,
    Source,
    flipped,
    judge,
    killed_in_the_midst,
    lay_out,
)
from tests.fakes.server_process import ServerProcess

from flashq.errors import StorageError
from flashq.storage import checksums
from flashq.storage.records import encode
from flashq.storage.sqlite import SqliteStorage

FLIPS: Final = int(os.environ.get("FLASHQ_FLIPS", "1500"))
SEED: Final = int(os.environ.get("FLASHQ_SEED", "0")) or random.randrange(1, 10**6)
VULNERABLE: Final = 2
"""The seed of a folder in which every tenth damage would go unnoticed."""

NOBODY: Final = 65_534
IN_MEMORY: Final = "/dev/shm"
REFUSAL: Final = r"(?i)permission denied|cannot be (opened|written)|may not be written"
DATABASE, LOG, HIGH_WATER, LOCK = FILES


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """The folder before it is damaged."""
    return killed_in_the_midst(tmp_path_factory.mktemp("source") / "data", SEED)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Where it is damaged: in memory where that is possible, since no machine stops here and a sync proves nothing."""
    if not os.access(IN_MEMORY, os.W_OK):
        yield tmp_path / "data"
        return
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as top:
        yield Path(top) / "data"


def seeded(what: str) -> str:
    """What was done, and how to do it again."""
    return f"FLASHQ_SEED={SEED}: {what}"


def test_nothing_was_done(folder: Path, source: Source) -> None:
    """The folder holds what it is meant to hold, and as it is everything is found."""
    assert judge(lay_out(folder, source.files), source, source.newest, seeded("nothing")) == "whole"
    assert len(source.files[LOG]) > 20 * FRAME_BYTES
    assert len(source.files[DATABASE]) > 15 * 4_096
    assert 0 < source.confirmed < source.newest
    assert source.files[DATABASE] != source.stages[0][DATABASE]


@pytest.mark.slow
@pytest.mark.timeout(60 + FLIPS)
def test_random_damage(folder: Path, source: Source) -> None:
    """A bit, a few bytes or a sector, anywhere: all that was confirmed is there unchanged, or the start is refused."""
    dice = random.Random(SEED)
    ends: Counter[str] = Counter()
    for number in range(FLIPS):
        files, what = flipped(source.files, dice)
        ends[judge(lay_out(folder, files), source, source.confirmed, seeded(f"damage {number}, {what}"))] += 1
    assert ends["refused"] > FLIPS // 3, ends
    assert ends["whole"] > FLIPS // 50, ends


@pytest.mark.slow
def test_random_damage_is_noticed_by_checksums(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the checksums of pages some of it goes unnoticed.

    Not of every folder: one whose newest pages are nearly all in the log hides what happens to the older ones.
    """
    source = killed_in_the_midst(tmp_path / "source", VULNERABLE)
    monkeypatch.setattr(checksums, "vfs", lambda: "unix")
    dice = random.Random(VULNERABLE)
    unnoticed = 0
    for _ in range(200):
        content = bytearray(source.files[DATABASE])
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        try:
            judge(lay_out(folder, source.files | {DATABASE: bytes(content)}), source, source.confirmed, "")
        except AssertionError:
            unnoticed += 1
    assert unnoticed > 0


def cuts(size: int) -> list[int]:
    """Every sector and every end of a frame."""
    return sorted({*range(0, size, 512), *range(LOG_HEAD_BYTES, size, FRAME_BYTES)})


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_log_that_was_cut(folder: Path, source: Source) -> None:
    """At every sector and frame (every second, unless nightly): what is left is a prefix, and the server goes on.

    Behind the newest frame there may be older ones, from before the log was begun anew: they are nobody's loss.
    """
    ends: Counter[str] = Counter()
    step = 1 if FLIPS >= 10_000 else 2
    for size in cuts(len(source.files[LOG]))[SEED % step :: step]:
        cut = source.files | {LOG: source.files[LOG][:size]}
        end = judge(lay_out(folder, cut), source, source.confirmed, seeded(f"log cut at {size}"))
        ends[end] += 1
        if end == "prefix":
            goes_on(folder)
    assert ends["refused"], ends
    assert ends["prefix"], ends


def goes_on(folder: Path) -> None:
    """What comes next is remembered."""
    for more in (1, 0):
        storage = SqliteStorage(folder / NAME, steady_ms=lambda: 0)
        newest = storage.open()
        list(storage.load().jobs)
        if more:
            storage.commit(newest + 1, encode([]))
            expected = newest + 1
        storage._held.close()
    assert newest == expected


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_sector_of_the_log_that_never_arrived(folder: Path, source: Source) -> None:
    """A machine that stops may have written a later sector and not an earlier one. Every third, or all when nightly."""
    log = source.files[LOG]
    step = 1 if FLIPS >= 10_000 else 3
    for place in range(SEED % step * 512, len(log), step * 512):
        torn = log[:place] + bytes(len(log[place : place + 512])) + log[place + 512 :]
        judge(lay_out(folder, source.files | {LOG: torn}), source, source.confirmed, seeded(f"no sector at {place}"))


@pytest.mark.parametrize("name", [DATABASE, HIGH_WATER])
def test_a_file_that_was_cut(folder: Path, source: Source, name: str) -> None:
    """The others at some sectors, and within what was written last: what cannot be whole is refused."""
    content = source.files[name]
    sectors = range(0, len(content), max(512, len(content) // 40 // 512 * 512))
    ends = range(len(content) - 1, max(0, len(content) - 2 * 4_096), -97)
    for size in (*sectors, *ends):
        files = source.files | {name: content[:size]}
        judge(lay_out(folder, files), source, source.confirmed, seeded(f"{name} cut at {size}"))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("how", ["missing", "empty", "zeros", "noise"])
def test_a_file_that_is_gone(folder: Path, source: Source, name: str, how: str) -> None:
    """Missing, empty or overwritten: the lock does not matter, of the others nothing is lost without a word."""
    dice = random.Random(SEED)
    files = dict(source.files)
    size = len(files[name])
    content = {"missing": b"", "empty": b"", "zeros": bytes(size), "noise": dice.randbytes(size)}[how]
    files[name] = content
    if how == "missing":
        del files[name]
    end = judge(lay_out(folder, files), source, source.confirmed, seeded(f"{name} {how}"))
    # Without the second witness nobody can say that something is missing, but nothing is.
    harmless = name == LOCK or (name == HIGH_WATER and how != "noise")
    assert end == ("whole" if harmless else "refused")


@pytest.mark.parametrize("names", [(LOG,), (HIGH_WATER,), (DATABASE, LOG)])
def test_older_files(folder: Path, source: Source, names: tuple[str, ...]) -> None:
    """An older log, or an older database with its log, is refused: the high-water file knows better.

    What it cannot know: an older copy of everything is a sound folder, and a database and a log that were copied at
    different moments from under a running server may fit together by chance.
    """
    for number, earlier in enumerate(source.stages):
        files = source.files | {name: earlier.get(name, b"") for name in names}
        end = judge(lay_out(folder, files), source, source.confirmed, seeded(f"{names} of {number}"))
        assert end == ("whole" if names == (HIGH_WATER,) else "refused")


@pytest.mark.parametrize("name", [*FILES, "flashq.db.failed"])
def test_a_folder_in_the_place_of_a_file(folder: Path, source: Source, name: str) -> None:
    """It is told by its name."""
    lay_out(folder, source.files)
    (folder / name).unlink(missing_ok=True)
    (folder / name).mkdir()
    storage = SqliteStorage(folder / NAME, steady_ms=lambda: 0)
    with pytest.raises(StorageError, match=name):
        storage.open()


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without the rights of root, which may read everything."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


@pytest.fixture
def open_folder(source: Source) -> Iterator[Path]:
    """The folder at a place that every account can reach, owned by the one that opens it."""
    top = Path(tempfile.mkdtemp())
    top.chmod(0o755)
    folder = lay_out(top / "data", source.files)
    for path in (folder, *folder.iterdir()):
        if os.geteuid() == 0:
            os.chown(path, NOBODY, NOBODY)
    yield folder
    shutil.rmtree(top)


@pytest.mark.parametrize("mode", [0o000, 0o400, 0o200])
@pytest.mark.parametrize("name", FILES)
def test_a_file_with_a_wrong_mode(open_folder: Path, source: Source, name: str, mode: int) -> None:
    """What may not be read or written is told, and nothing is changed."""
    (open_folder / name).chmod(mode)
    refused_as_it_is(open_folder, source)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_owner(open_folder: Path, source: Source, name: str) -> None:
    """As after a start as root by mistake."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to give a file away")
    os.chown(open_folder / name, 0, 0)
    (open_folder / name).chmod(0o600)
    refused_as_it_is(open_folder, source)


@pytest.mark.parametrize("mode", [0o000, 0o500])
def test_a_folder_with_a_wrong_mode(open_folder: Path, source: Source, mode: int) -> None:
    """One that may not be entered, or in which nothing may be made: told, or it does not matter."""
    (open_folder / LOCK).unlink()
    open_folder.chmod(mode)
    try:
        refused_as_it_is(open_folder, source)
    finally:
        open_folder.chmod(0o700)


def refused_as_it_is(folder: Path, source: Source) -> None:
    """The start is refused in one sentence and changes nothing."""
    storage = SqliteStorage(folder / NAME, steady_ms=lambda: 0)
    with (
        as_nobody(),
        pytest.raises(
            StorageError, match=r"(?i)permission denied|cannot be (opened|written)|may not be written"
        ) as caught,
    ):
        storage.open()
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    folder.chmod(0o700)
    for path in folder.iterdir():
        path.chmod(0o600)
    assert {name: (folder / name).read_bytes() for name in (DATABASE, LOG, HIGH_WATER)} == {
        name: source.files[name] for name in (DATABASE, LOG, HIGH_WATER)
    }


DAMAGES: Final[dict[str, Callable[[Path], object]]] = {
    "page": lambda data: overwrite(data / DATABASE, 5_000),
    "beginning": lambda data: overwrite(data / DATABASE, 0),
    "older": lambda data: (data / LOG).unlink(),
    "witness": lambda data: (data / HIGH_WATER).write_bytes(b"FLASHQHW" * 8),
    "folder": lambda data: ((data / DATABASE).unlink(), (data / DATABASE).mkdir()),
}


def overwrite(path: Path, place: int) -> None:
    """A sector of noise."""
    content = bytearray(path.read_bytes())
    content[place : place + 512] = random.Random(1).randbytes(512)
    path.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("damage", DAMAGES)
def test_what_the_server_says(tmp_path: Path, source: Source, damage: str) -> None:
    """A server that does not start says why in one line, with the file and without a traceback, and exits with 1."""
    server = ServerProcess(tmp_path)
    lay_out(server.data, source.files)
    DAMAGES[damage](server.data)
    code, said = server.run_to_end()
    assert code == 1
    assert said.count("\n") == 1
    assert str(server.data) in said
    assert "Traceback" not in said
