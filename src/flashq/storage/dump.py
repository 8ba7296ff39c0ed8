"""The form of an export: everything that a storage remembers, as lines of JSON that any program can read.

One object a line, and each says in ``kind`` what it is. The first line is the header, the last one the footer, which
counts the lines before it and holds their checksum: so an export that was cut short, altered or put together from two
is noticed. Between them stand the rows of `flashq.engine.records` by the names of their members, less those that have
the value that they have by default; what the rows mean is said there.

The order matters to those who read: whatever is small comes before the jobs, so that nobody has to keep these. Jobs
come in the order of their ids. What has happened to them comes last.

Payloads and results stand in the lines as the JSON that they are. Line ends between the parts of one become spaces,
which means the same; nothing else is changed.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256
from itertools import chain
from operator import attrgetter
from typing import Any, BinaryIO, Final, Union

import msgspec
from msgspec import Raw, Struct, structs

from flashq.engine.records import CallRow, CronRow, Happened, JobRow, Operated, QueueRow, Snapshot, WebhookRow
from flashq.engine.trail import Audited
from flashq.errors import StorageError

VERSION: Final = 1
"""Of the form. A row may get new members without a new version; an older program then refuses the line."""

DROPPED_PER_LINE: Final = 1_000

MAX_LINE_BYTES: Final = 256 * 1024 * 1024
"""More than the largest job with all it has collected takes: a file without line ends must not fill the memory."""

_JSON: Final[dict[Any, Any]] = {
    bytes: Raw,
    bytes | None: Raw,  # None is a member that is not there: ``null`` is a result
    list[tuple[int, bytes]] | None: list[tuple[int, Raw]] | None,
}
"""How members that hold JSON are declared, so that it stands in a line as it is."""


class BadDump(StorageError):
    """An export cannot be read: it is none, or damaged, cut short, or of a newer program."""


class Header(Struct, tag_field="kind", tag="flashq-export", forbid_unknown_fields=True, kw_only=True):
    """The first line.

    Attributes:
        version: of the form.
        flashq: version of the program that wrote it.
        storage: the kind of storage that it was read from.
        exported_at: when (wall ms).
        epoch, next_id, completions: as in `Snapshot`.
        live: jobs that have not ended; so many lines at least have jobs.
    """

    version: int
    flashq: str
    storage: str
    exported_at: int
    epoch: int
    next_id: int
    completions: int
    live: int


class Dropped(Struct, tag_field="kind", tag="dropped", forbid_unknown_fields=True):
    """Ids that ended without completing, oldest first."""

    ids: list[int]


class Footer(Struct, tag_field="kind", tag="end", forbid_unknown_fields=True):
    """The last line: how many lines come before it, and the SHA-256 of their bytes, in hexadecimal."""

    lines: int
    sha256: str


def _line_type(kind: str, row_type: type[Struct]) -> type[Struct]:
    """The lines of one kind of row: its members by name."""
    members = [
        (field.name, _JSON.get(field.type, field.type), *(() if field.required else (field.default,)))
        for field in structs.fields(row_type)
    ]
    return msgspec.defstruct(
        f"{row_type.__name__}Line", members, tag_field="kind", tag=kind, omit_defaults=True, forbid_unknown_fields=True
    )


_ROWS: Final[dict[str, type[Struct]]] = {
    "queue": QueueRow,
    "cron": CronRow,
    "webhook": WebhookRow,
    "call": CallRow,
    "job": JobRow,
    "happened": Happened,
    "operated": Operated,
}
_LINES: Final = {row_type: _line_type(kind, row_type) for kind, row_type in _ROWS.items()}
_ROW_OF: Final = {line_type: row_type for row_type, line_type in _LINES.items()}
_BYTES: Final = {
    row_type: [place for place, field in enumerate(structs.fields(row_type)) if field.type in (bytes, bytes | None)]
    for row_type in _LINES
}
_COLLECT: Final = JobRow.__struct_fields__.index("collect")
_INPUTS: Final = JobRow.__struct_fields__.index("inputs")

_encoder: Final = msgspec.json.Encoder()
_decoder: Final[msgspec.json.Decoder[Any]] = msgspec.json.Decoder(Union[(Header, Dropped, Footer, *_ROW_OF)])

Thing = Header | Dropped | QueueRow | CronRow | WebhookRow | CallRow | JobRow | Happened | Operated
"""What a line between header and footer says, the header included."""


def lines_of(snapshot: Snapshot, trail: Iterable[Audited], *, flashq: str, storage: str, now: int) -> Iterator[bytes]:
    """An export, line by line, line ends included.

    Args:
        snapshot: of what; its jobs are read on the way.
        trail: what has happened, in its order.
        flashq: version of this program.
        storage: the kind of storage that it is.
        now: wall ms.

    Raises:
        StorageError: an import into this storage was broken off, so that it is not whole.
    """
    if snapshot.importing:
        raise StorageError("an import was broken off here, so not all is there: run it again, with the same file")
    digest, count = sha256(), 0
    header = Header(
        version=VERSION,
        flashq=flashq,
        storage=storage,
        exported_at=now,
        epoch=snapshot.epoch,
        next_id=snapshot.next_id,
        completions=snapshot.completions,
        live=sum(_live(queue) for queue in snapshot.queues),
    )
    for thing in chain([header], _things(snapshot), map(_line, snapshot.rows()), map(_line, _single(trail))):
        line = _encoder.encode(thing) + b"\n"
        digest.update(line)
        count += 1
        yield line
    yield _encoder.encode(Footer(count, digest.hexdigest())) + b"\n"


def _things(snapshot: Snapshot) -> Iterator[Struct]:
    """All that is small."""
    queues = sorted(snapshot.queues, key=attrgetter("name"))
    crons = sorted(snapshot.crons, key=attrgetter("name"))
    for row in chain(queues, crons, snapshot.webhooks, snapshot.calls):
        yield _line(row)
    for start in range(0, len(snapshot.dropped), DROPPED_PER_LINE):
        yield Dropped(snapshot.dropped[start : start + DROPPED_PER_LINE])


def _single(trail: Iterable[Audited]) -> Iterator[Audited]:
    """The trail with a record for each of its rows, as the tables have it."""
    for record in trail:
        if isinstance(record, Happened) and len(record.runs) > 2:
            runs = record.runs
            yield from (structs.replace(record, runs=runs[at : at + 2]) for at in range(0, len(runs), 2))
        else:
            yield record


class Reader:
    """Reads an export line by line and judges it.

    Attributes:
        header: the first line, once it has been read.
        name: of this export, made from its header: another one has another.
        lines: how many lines have been read.
        bytes: how many bytes these have.
    """

    header: Header

    def __init__(self, source: BinaryIO) -> None:
        """Read the header.

        Args:
            source: an export.

        Raises:
            BadDump: it is none, or of a newer program.
        """
        self._source = source
        self._digest = sha256()
        self.lines = self.bytes = 0
        header = self._next()
        if not isinstance(header, Header):
            raise BadDump("line 1: not the beginning of an export")
        if header.version > VERSION:
            raise BadDump(f"the export has version {header.version}, this program knows {VERSION}: use a newer FlashQ")
        self.header = header
        self.name = self._digest.hexdigest()[:16]

    def things(self) -> Iterator[Thing]:
        """What the lines after the header say.

        Raises:
            BadDump: a line makes no sense, or, at the end, the footer is missing or does not fit.
        """
        while True:
            digest, lines = self._digest.hexdigest(), self.lines
            thing = self._next()
            if isinstance(thing, Footer):
                break
            if isinstance(thing, Header):
                raise BadDump(f"line {self.lines}: a second header")
            yield thing
        if (thing.lines, thing.sha256) != (lines, digest):
            raise BadDump(
                f"the export is damaged: its last line counts {thing.lines} lines, there are {lines}"
                + ("" if thing.lines != lines else ", and their checksum is wrong")
            )
        if self._source.read(1):
            raise BadDump("something comes after the last line of the export")

    def _next(self) -> Thing | Footer:
        line = self._source.readline(MAX_LINE_BYTES)
        if not line.endswith(b"\n"):
            long = len(line) == MAX_LINE_BYTES
            what = (
                f"has more than {MAX_LINE_BYTES} bytes" if long else "is missing or cut short: the export is not whole"
            )
            raise BadDump(f"line {self.lines + 1} {what}")
        self.lines += 1
        self.bytes += len(line)
        self._digest.update(line)
        try:
            thing = _decoder.decode(line)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise BadDump(f"line {self.lines}: {error}") from None
        row_type = _ROW_OF.get(type(thing))
        found: Thing | Footer = thing if row_type is None else _row(row_type, thing)
        return found


def _live(queue: QueueRow) -> int:
    return queue.pushed - queue.completed - queue.cancelled - queue.expired - queue.purged


def _line(row: Struct) -> Struct:
    """A row as a line."""
    row_type = type(row)
    members = list(structs.astuple(row))
    for place in _BYTES[row_type]:
        if members[place] is not None:
            members[place] = _on_one_line(members[place])
    if row_type is JobRow:
        members[_COLLECT] = bool(members[_COLLECT])  # which a database may give as a number
    if row_type is JobRow and members[_INPUTS] is not None:
        members[_INPUTS] = [(parent, _on_one_line(result)) for parent, result in sorted(members[_INPUTS])]
    return _LINES[row_type](*members)


def _row(row_type: type[Struct], line: Struct) -> Any:  # noqa: ANN401  # one of the rows
    """And back."""
    members = list(structs.astuple(line))
    for place in _BYTES[row_type]:
        if members[place] is not None:
            members[place] = bytes(members[place])
    if row_type is JobRow and members[_INPUTS] is not None:
        members[_INPUTS] = [(parent, bytes(result)) for parent, result in members[_INPUTS]]
    return row_type(*members)


def _on_one_line(document: bytes) -> Raw:
    """JSON without line ends: within a string there are none, so these are white space."""
    if b"\n" in document or b"\r" in document:
        document = document.translate(_SPACES)
    return Raw(document)


_SPACES: Final = bytes.maketrans(b"\r\n", b"  ")
