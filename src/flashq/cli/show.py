r"""Everything the command line prints: text for people, JSON for programs, errors in one line.

Nothing else prints, because what is printed is hostile. Payloads, error texts, names of workers come from whoever may
push, and a terminal obeys what it is shown: an escape sequence in a job's data could rewrite the screen, the title or
the clipboard of the one who looks at it. So every character that is not plainly visible leaves as an escape: ``\x1b``
in text, ``\u001b`` within JSON (where it means the same to every reader, so programs lose nothing).

JSON is written as UTF-8 whatever the terminal's encoding. Tables are drawn by rich when it is installed and somebody
looks; without it, and into files, they are plain columns.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from importlib.util import find_spec
from time import monotonic
from typing import Any, Final

import click
from msgspec import Raw, json, structs

HAS_RICH: Final = find_spec("rich") is not None
"""Whether tables and bars can be pretty. It is loaded only when one is drawn: that takes longer than most verbs."""

Column = tuple[str, Callable[[Any], object]]
"""A heading, and what stands below it for one thing of the list."""

NO_VALUE: Final = "-"
PROGRESS_SECONDS: Final = 10
"""Between two lines about the progress of long work in a log."""

CELL_CHARS: Final = 80
"""The widest cell of a plain table: a payload of a megabyte must not push the other columns out of sight."""


def visible(text: str) -> str:
    r"""Text in which nothing moves the cursor, colours, or changes the direction: ``\n``, ``\x1b``, ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def visible_json(document: bytes) -> str:
    """JSON on one line that means the same and holds no character that a terminal might obey.

    White space between the parts is dropped first: what is invisible after that stands inside a string, where it may
    be written as an escape.
    """
    text = json.format(document, indent=-1).decode()
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _json_escape(char) for char in text)


def _json_escape(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def moment(ms: int | None) -> str:
    """A time (ms since the Unix epoch) as people here read it."""
    if not ms:
        return NO_VALUE
    try:
        return datetime.fromtimestamp(ms / 1000).astimezone().isoformat(" ", "milliseconds")
    except (ValueError, OverflowError, OSError):  # a year beyond 9999 is a fault of the data, not of the display
        return f"{ms} ms"


def duration(ms: float) -> str:
    """A duration (ms) as people say it."""
    if ms < 1_000:
        return f"{ms:g} ms"
    if ms < 120_000:
        return f"{ms / 1000:g} s"
    return f"{ms / 60_000:g} min" if ms < 7_200_000 else f"{ms / 3_600_000:g} h"


def cell(value: object) -> str:
    """Any value as one visible line."""
    if value is None or value in ("", []):
        return NO_VALUE
    if isinstance(value, Raw | bytes):
        return visible_json(bytes(value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return visible(", ".join(str(one) for one in value))
    if isinstance(value, float):
        return f"{value:,.2f}"
    return visible(str(value))


class Show:
    """Where the answer of one verb goes.

    Args:
        as_json: write one JSON document instead of text.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json

    def document(self, value: object) -> None:
        """One JSON document on one line."""
        sys.stdout.flush()
        sys.stdout.buffer.write(visible_json(json.encode(value)).encode() + b"\n")
        sys.stdout.buffer.flush()

    def done(self, sentence: str, **document: object) -> None:
        """What was done: a sentence for people, the same as JSON members for programs."""
        if self.as_json:
            self.document(document or {"ok": True})
        else:
            self.text(sentence)

    def text(self, line: str) -> None:
        """One line for people; whatever is in it, it stays one line."""
        print(_encodable(visible(line), sys.stdout), flush=True)

    def facts(self, thing: object, facts: Mapping[str, object]) -> None:
        """One thing: JSON, or a line for each of its facts."""
        if self.as_json:
            self.document(thing)
            return
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            print(_encodable(f"{name:{width}}  {cell(value)}", sys.stdout))
        sys.stdout.flush()

    def listing(self, things: Sequence[object], columns: Sequence[Column], nothing: str) -> None:
        """Many things: JSON, or a table.

        Args:
            things: what to list.
            columns: headings and how to fill them.
            nothing: what to say when there are none.
        """
        if self.as_json:
            self.document(things)
        elif not things:
            self.text(nothing)
        else:
            rows = [[cell(pick(thing)) for _, pick in columns] for thing in things]
            _print_table([heading for heading, _ in columns], rows)

    @contextmanager
    def progress(self, label: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar on the error stream while long work goes on; a line now and then where there is no terminal.

        Args:
            label: what is being done.
            total: how much there is to do; None: unknown.

        Yields:
            A function to call with how much more has been done.
        """
        if not sys.stderr.isatty():
            yield _Lines(visible(label), total).advance
        elif HAS_RICH:
            with _rich_progress() as bar:
                task = bar.add_task(visible(label), total=total)
                yield lambda more: bar.advance(task, more)
        else:
            with click.progressbar(length=total or 0, label=visible(label), file=sys.stderr) as bar:
                yield bar.update if total else _ignore

    def confirm(self, question: str) -> bool:
        """Whether somebody at a terminal says yes; where nobody can be asked, it is a no."""
        if not sys.stdin.isatty() or not sys.stderr.isatty():
            return False
        return click.confirm(visible(question), err=True)

    def complain(self, sentence: str, code: str, *, refusal: bool) -> None:
        """An error: one line on the error stream.

        Args:
            sentence: what is wrong.
            code: the word that programs match on.
            refusal: the code is the server's, so that people want to see it too.
        """
        if self.as_json:
            line = visible_json(json.encode({"error": sentence, "code": code}))
        else:
            line = visible(f"flashq: {sentence} [{code}]" if refusal else f"flashq: {sentence}")
        if sys.stderr.isatty():
            line = f"\r{line}"  # over the ^C that a terminal may have written there
        with suppress(OSError):  # nobody is left to be told
            print(_encodable(line, sys.stderr), file=sys.stderr, flush=True)


class _Lines:
    """Progress for a log: a line for each `PROGRESS_SECONDS` that the work has taken."""

    def __init__(self, label: str, total: int | None) -> None:
        self._label = label
        self._of = "" if total is None else f" of {total}"
        self._done = 0
        self._next = monotonic() + PROGRESS_SECONDS

    def advance(self, more: int) -> None:
        """So much more has been done."""
        self._done += more
        now = monotonic()
        if now >= self._next:
            self._next = now + PROGRESS_SECONDS
            print(f"{self._label}: {self._done}{self._of}", file=sys.stderr, flush=True)


def give_up_output() -> None:
    """Output cannot be written, and that has been said: let the interpreter not find out again while it ends."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def members(thing: object, *, less: Sequence[str] = ()) -> dict[str, object]:
    """The members of a struct by name, for `Show.facts`."""
    return {name.replace("_", " "): value for name, value in structs.asdict(thing).items() if name not in less}  # type: ignore[arg-type]


def _ignore(_: int) -> None:
    """Nobody looks at the progress."""


def _encodable(text: str, stream: Any) -> str:  # noqa: ANN401  # any text stream
    """The text with what the stream's encoding has no letters for written as escapes."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _print_table(headings: list[str], rows: list[list[str]]) -> None:
    if HAS_RICH and sys.stdout.isatty():
        _print_rich_table(headings, rows)
        return
    table = [headings, *([_cut(text) for text in row] for row in rows)]
    widths = [max(len(row[at]) for row in table) for at in range(len(headings))]
    for row in table:
        line = "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True))
        print(_encodable(line.rstrip(), sys.stdout))
    sys.stdout.flush()


def _cut(text: str) -> str:
    return text if len(text) <= CELL_CHARS else text[: CELL_CHARS - 3] + "..."


def _print_rich_table(headings: list[str], rows: list[list[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in headings:
        table.add_column(heading)
    for row in rows:
        table.add_row(*(Text(_cut(text)) for text in row))  # Text: brackets in a payload are no markup
    Console(markup=False, highlight=False).print(table)


def _rich_progress() -> Any:  # noqa: ANN401  # the type is as optional as the package
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    text = TextColumn("{task.description}", markup=False)
    return Progress(text, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=Console(stderr=True))
