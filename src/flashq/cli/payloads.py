"""JSON from people: one value on the command line, or a file with one a line.

Checked here, before anything is sent, because only here it is known where in the file a fault stands. What is sent is
the text as it was written, less the white space: numbers keep all their digits.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import click
from msgspec import DecodeError, Raw, json

from flashq.model import FlowJob, JobSpec


class BadText(ValueError):
    """A text is not what it should be; the sentence says why and at which byte."""


def parse(text: bytes) -> Raw:
    """One JSON text, checked and without white space between its parts.

    Raises:
        BadText: it is not JSON, not UTF-8, or nested too deep.
    """
    try:
        text.decode()
        json.decode(text, type=Raw)
        return Raw(json.format(text, indent=-1))
    except UnicodeDecodeError as error:
        raise BadText(f"not JSON: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise BadText("not JSON: nested too deep") from None
    except DecodeError as error:
        raise BadText(f"not JSON: {_reason(text, error)}") from None


def parse_job(text: bytes) -> dict[str, Any]:
    """One whole job as a batch has it: ``{"data": ..., "priority": 5}``.

    Returns:
        The members of `JobSpec` that the text names, so that others may be filled in.

    Raises:
        BadText: it is not JSON, or a member may not be what it is.
    """
    return _named(text, JobSpec)


def parse_flow_job(text: bytes) -> dict[str, Any]:
    """The same for a job of a flow: ``{"queue": "merge", "data": ..., "after": [0]}``; see `parse_job`."""
    return _named(text, FlowJob)


def _named(text: bytes, kind: type[JobSpec]) -> dict[str, Any]:
    parse(text)
    try:
        # Decoded as the server does it, so that a mistyped member is told here with its line.
        spec = json.decode(text, type=kind)
        named = json.decode(text, type=dict[str, Raw])
    except DecodeError as error:  # ValidationError included
        raise BadText(f"not a job: {error}") from None
    return {name: getattr(spec, name) for name in spec.__struct_fields__ if name in named}


def _reason(text: bytes, error: DecodeError) -> str:
    if not text.strip():
        return "there is nothing"
    reason = str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "ends too early")
    bare = text.strip()
    word = bare.isascii() and bare.replace(b"_", b"").replace(b"-", b"").isalnum() and not bare[:1].isdigit()
    return f"{reason}; a text needs quotes of its own: '\"{bare[:40].decode()}\"'" if word else reason


class Json(click.ParamType):  # type: ignore[type-arg]  # generic only in newer versions of click
    """The type of an argument that is JSON."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """The text as checked JSON."""
        if isinstance(value, Raw):
            return value
        try:
            # What the shell passed need not be UTF-8; then it arrives with surrogates, which are turned back here.
            return parse(str(value).encode("utf-8", "surrogateescape"))
        except BadText as error:
            self.fail(str(error), param, ctx)


class Line(NamedTuple):
    """One line of a file that is not blank.

    Attributes:
        number: from 1.
        text: without its end.
        size: bytes read from the file, its end included.
    """

    number: int
    text: bytes
    size: int


def lines(stream: Iterable[bytes]) -> Iterator[Line]:
    """The lines of a file, less the blank ones (whose size counts with the line after them)."""
    skipped = 0
    for number, line in enumerate(stream, 1):
        skipped += len(line)
        text = line.strip()
        if text:
            yield Line(number, text, skipped)
            skipped = 0
