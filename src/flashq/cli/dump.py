"""``flashq export`` and ``flashq import``: everything that a storage remembers, out of one and into another."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO, Final, TypeVar

import click
from msgspec import structs

from flashq import __version__
from flashq.cli.doctor import Broken, opened
from flashq.cli.reach import Local, Misconfigured, Nothing, Wishes
from flashq.cli.settings import configured
from flashq.config import Config
from flashq.errors import StorageError
from flashq.server.clock import now
from flashq.storage.dump import Reader, lines_of
from flashq.storage.files import make_file, publish
from flashq.storage.importing import Counted, Import, lines_there
from flashq.storage.open import kind_of, storage_for
from flashq.storage.reading import Reading

_Result = TypeVar("_Result")

_STREAM: Final = "-"
_STRIDE: Final = 1_000
"""Lines between two looks at the progress."""

_EPILOG: Final = """\b
Exit codes:
    0  done
    1  the storage or the export is damaged, or the place is not empty
    2  the command is wrong
    3  in use by a server
    4  there is no storage
"""

_data_dir = click.option("--data-dir", help="Folder of the database; flashq-data unless asked otherwise.")
_database_url = click.option("--database-url", help="sqlite:///PATH or postgres://...; else flashq.db in that folder.")


@click.command(cls=Local, epilog=_EPILOG)
@click.argument("file")
@_data_dir
@_database_url
@click.pass_obj
def export(wishes: Wishes, /, file: str, **given: Any) -> None:  # noqa: ANN401  # one word of the environment each
    r"""Write everything that is kept to FILE, or to the output if it is -, while no server uses it.

    FILE holds payloads and the secrets of webhooks, so only its owner may read it. It is never overwritten.

    \b
    Examples:
      flashq export jobs.ndjson
      flashq export - --data-dir ./flashq-data | gzip > jobs.ndjson.gz
    """
    config = configured(**given)
    with opened(config) as reading, _written(file) as out:
        for _, check in reading.checks():
            check()
        lines, size = _export(wishes, reading, out, kind_of(config.storage_url))
    if file != _STREAM:
        wishes.show.done(f"{lines} lines, {size} bytes written to {file}", lines=lines, bytes=size, file=file)


def _export(wishes: Wishes, reading: Reading, out: BinaryIO, kind: str) -> tuple[int, int]:
    snapshot = reading.snapshot()
    about = sum(queue.pushed - queue.cancelled - queue.expired - queue.purged for queue in snapshot.queues)
    size, numbers = 0, count()
    with wishes.show.progress("exporting", min(about, snapshot.next_id)) as advance:
        for line in lines_of(snapshot, reading.trail(), flashq=__version__, storage=kind, now=now().wall):
            size += out.write(line)
            if next(numbers) % _STRIDE == 0:
                advance(_STRIDE)
    return next(numbers), size


@click.command("import", cls=Local, epilog=_EPILOG)
@click.argument("file")
@_data_dir
@_database_url
@click.pass_obj
def import_(wishes: Wishes, /, file: str, **given: Any) -> None:  # noqa: ANN401  # one word of the environment each
    r"""Fill an empty folder or database with what `flashq export` has written to FILE, or with the input if it is -.

    An import that was broken off goes on when it is run again with the same export. No server starts on half of one.

    \b
    Examples:
      flashq import jobs.ndjson --data-dir ./flashq-new
      gunzip < jobs.ndjson.gz | flashq import - --data-dir ./flashq-new
    """
    config = configured(**given)
    with _read(file) as (source, size):
        reader = _plainly(lambda: Reader(source))
        _require_empty(config, reader)
        with wishes.show.progress("importing", size) as advance:
            advance(reader.bytes)
            counted = _plainly(lambda: _import(config, reader, advance))
    wishes.show.done(
        f"{counted.jobs} jobs, {counted.queues} queues, {counted.crons} schedules, {counted.webhooks} webhooks with "
        f"{counted.calls} calls owed to them, {counted.history} entries of history",
        **structs.asdict(counted),
    )


def _import(config: Config, reader: Reader, advance: Callable[[int], None]) -> Counted:
    storage = storage_for(
        config.storage_url,
        durability="full",
        steady_ms=lambda: now().steady,
        folder=Path(config.data_dir),
        address="flashq import",
    )
    if storage is None:
        raise Misconfigured("nothing can be imported into memory://")
    importing = Import(reader, storage)
    importing.run(advance)
    return importing.counted


def _require_empty(config: Config, reader: Reader) -> None:
    """Look before anything is touched: a storage that is in use for something else must not even be opened."""
    try:
        with opened(config) as reading:
            for _, check in reading.checks():
                check()
            lines_there(reading.snapshot(), reader)
    except Nothing:
        return


def _plainly(step: Callable[[], _Result]) -> _Result:
    try:
        return step()
    except StorageError as error:
        raise Broken(str(error)) from None


@contextmanager
def _written(file: str) -> Iterator[BinaryIO]:
    """Where an export goes. A file gets its name when it is whole and on the disk."""
    if file == _STREAM:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    path = Path(file)
    if path.exists():
        raise Broken(f"{file} is there already, and is not overwritten")
    part = path.with_name(f"{path.name}.part")
    make_file(part)
    try:
        with part.open("wb") as out:
            yield out
        publish(part, path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def _read(file: str) -> Iterator[tuple[BinaryIO, int | None]]:
    """What is imported, and how many bytes it has, if that is known."""
    if file == _STREAM:
        yield sys.stdin.buffer, None
        return
    with Path(file).open("rb") as source:
        yield source, os.fstat(source.fileno()).st_size
