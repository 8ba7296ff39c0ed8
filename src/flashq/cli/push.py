"""``flashq push``: one job from the command line, or a file of them.

A file is read and sent in batches while it is read, so its size does not matter. Each batch is all or none, the file
is not: an error says how many jobs of the lines before it were pushed.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Final

import click
from msgspec import Raw

from flashq.cli.payloads import BadText, Json, Line, lines, parse, parse_job
from flashq.cli.reach import BadLine, Verb, Wishes
from flashq.client import FlashQ, JobSpec, PushedIds
from flashq.errors import FlashQError
from flashq.protocol.limits import MAX_BATCH, MAX_DURATION_MS, MAX_ID

BATCH_BYTES: Final = 4 * 1024 * 1024
"""A batch is sent when its payloads are this large: a quarter of what a line may be, since one job adds 1 MiB and
each has members beside its payload."""

_MS: Final = click.IntRange(0, MAX_DURATION_MS)
_U32: Final = click.IntRange(0, 2**32 - 1)


@click.command(cls=Verb)
@click.argument("queue")
@click.argument("data", type=Json(), required=False)
@click.option("--file", type=click.File("rb"), help="Push each line of this file, one JSON value a line; - is stdin.")
@click.option("--whole", is_flag=True, help='Each line of the file is a whole job: {"data": ..., "priority": 5}.')
@click.option("--priority", type=click.IntRange(-(2**31), 2**31 - 1), help="Higher runs first; 0 unless said.")
@click.option("--delay", type=_MS, help="ms until the job may run.")
@click.option("--ttl", type=_MS, help="ms after which it disappears, unless it runs.")
@click.option("--timeout", type=_MS, help="ms that one attempt may run.")
@click.option("--max-attempts", type=_U32, help="Failed attempts until the dead letters; 0 = no bound.")
@click.option("--backoff", type=_MS, help="ms before the first retry, doubled each time; 0 = at once.")
@click.option("--unique-key", help="At most one live job of the queue may hold it.")
@click.option("--depends-on", type=click.IntRange(1, MAX_ID), multiple=True, help="A job that must complete first.")
@click.option("--collect", is_flag=True, help="Deliver it with the results of the jobs that it depends on.")
@click.option("--tag", "tags", multiple=True, help="A word for people.")
@click.option("--job-id", help="Your own id for the job; makes the push safe to repeat.")
@click.pass_obj
def push(
    wishes: Wishes,
    /,
    queue: str,
    data: Raw | None,
    file: BinaryIO | None,
    *,
    whole: bool,
    **options: Any,  # noqa: ANN401  # the members of PUSH, by name
) -> None:
    r"""Add DATA, a JSON value, to QUEUE and print the job's id; or add each line of a file.

    --depends-on and --tag may be repeated. With --file the other options hold for every line.

    \b
    Examples:
      flashq push emails '{"to": "ada@example.org"}' --priority 5 --delay 60000
      flashq push emails --file mails.ndjson
      jq -c '.[]' mails.json | flashq push emails --file -
    """
    given: dict[str, Any] = {
        name: _listed(value) for name, value in options.items() if value not in (None, ()) and value is not False
    }
    _check(data, file, whole=whole, given=given)
    with wishes.client() as q:
        if file is None:
            id = q.push(queue, data, **given)
            wishes.show.done(str(id), id=id)
            return
        with wishes.show.progress(f"push to {queue}", _size(file)) as advance:
            pushed = _push_file(q, queue, _jobs(file, given, whole=whole), advance)
    sentence = f"{len(pushed)} jobs pushed"
    if pushed.duplicates:
        sentence += f", {len(pushed.duplicates)} of them were there already"
    document = {"ids": list(pushed), "duplicates": pushed.duplicates, "replayed": pushed.replayed}
    wishes.show.done(sentence, **document)


def _listed(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _check(data: Raw | None, file: BinaryIO | None, *, whole: bool, given: dict[str, Any]) -> None:
    """Refuse what contradicts itself."""
    if (data is None) == (file is None):
        raise click.UsageError("give either DATA or --file")
    if whole and file is None:
        raise click.UsageError("--whole says what the lines of --file are")
    for name in ("unique_key", "job_id"):
        if file is not None and name in given:
            raise click.UsageError(f"--{name.replace('_', '-')} names one job and cannot hold for each line of a file")


def _size(file: BinaryIO) -> int | None:
    """How many bytes there are to read; None for what has no size, as a pipe."""
    try:
        return os.fstat(file.fileno()).st_size or None
    except OSError:
        return None


def _jobs(file: BinaryIO, given: dict[str, Any], *, whole: bool) -> Iterator[tuple[Line, JobSpec]]:
    """The lines of a file as jobs; what a line says itself goes before what was ``given`` for all."""
    for line in lines(file):
        try:
            said = parse_job(line.text) if whole else {"data": parse(line.text)}
        except BadText as error:
            name = getattr(file, "name", "<stdin>")  # not every stream has one
            raise BadLine(f"line {line.number} of {name}: {error}") from None
        yield line, JobSpec(**(given | said))


def _push_file(
    q: FlashQ, queue: str, jobs: Iterator[tuple[Line, JobSpec]], advance: Callable[[int], None]
) -> PushedIds:
    """Push jobs in batches; places in what is returned count over all of them."""
    pushed = PushedIds([], [], [])
    try:
        for batch in _batches(jobs):
            _push_batch(q, queue, batch, pushed)
            advance(sum(line.size for line, _ in batch))
    except BaseException as error:
        error.add_note(f"{len(pushed)} jobs of the lines before were pushed")
        raise
    return pushed


def _push_batch(q: FlashQ, queue: str, batch: list[tuple[Line, JobSpec]], pushed: PushedIds) -> None:
    before = len(pushed)
    try:
        ids = q.push_batch(queue, [spec for _, spec in batch])
    except FlashQError as error:
        error.add_note(f"in the batch of lines {batch[0][0].number} to {batch[-1][0].number}")
        raise
    pushed += ids
    pushed.duplicates += [before + place for place in ids.duplicates]
    pushed.replayed += [before + place for place in ids.replayed]


def _batches(jobs: Iterator[tuple[Line, JobSpec]]) -> Iterator[list[tuple[Line, JobSpec]]]:
    batch: list[tuple[Line, JobSpec]] = []
    size = 0
    for line, spec in jobs:
        batch.append((line, spec))
        size += len(line.text)
        if len(batch) == MAX_BATCH or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
