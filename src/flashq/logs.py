"""The log of a server or a worker: one line an event, for people or for programs.

What a job brings along (its task's name, its tags, the text of its error) was written by whoever pushed it. A line
break in there could forge a line of the log, an escape sequence could repaint the terminal; so control characters are
escaped wherever they come from. Payloads are never logged.

Text is ``time level logger: message key=value ...``; JSON is one object a line with the same words. A trace follows its
line, each of its lines indented, or is the member ``trace``.

Who logs gives the words by ``extra={"flashq": {...}}`` and a trace that is text already by ``extra={"trace": text}``.
"""

import logging
import re
import sys
from collections.abc import Mapping
from datetime import datetime
from json import dumps
from typing import Any, Final, TextIO

from msgspec import json

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")

MAX_VALUE: Final = 500
"""Characters of one value: an error's first sentence, not its whole trace, which follows once."""

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_BARE: Final = re.compile(r"[^\s=\"]+")

_encode = json.Encoder(enc_hook=str).encode


def _write(members: Mapping[str, Any]) -> str:
    """One JSON object; also of text with half characters (lone surrogates), which only the slower writer can escape."""
    try:
        return _encode(members).decode()
    except UnicodeEncodeError:
        return dumps(members, default=str, skipkeys=True)


def shown(value: object) -> str:
    """A value for a line of text: short, without control characters, quoted where it must be."""
    text = escaped(str(value))
    if len(text) > MAX_VALUE:
        text = text[:MAX_VALUE] + "..."
    return text if _BARE.fullmatch(text) else '"' + text.replace('"', '\\"') + '"'


def escaped(text: str) -> str:
    """Text in which nothing can end the line, repaint the terminal or turn the direction of writing."""
    return _UNSAFE.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")


def _more(record: logging.LogRecord) -> Mapping[str, Any]:
    return getattr(record, "flashq", None) or {}


class TextFormatter(logging.Formatter):
    """Lines for people."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and the trace if there is one."""
        line = f"{_time(record)} {record.levelname:7} {record.name}: {escaped(record.getMessage())}"
        line += "".join(f" {name}={shown(value)}" for name, value in _more(record).items())
        trace = _trace(self, record)
        if trace:
            line += "".join(f"\n    {escaped(each)}" for each in trace.splitlines())
        return line


class JsonFormatter(logging.Formatter):
    """Lines for programs."""

    def format(self, record: logging.LogRecord) -> str:
        """One JSON object."""
        members: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        members = {**_more(record), **members}
        trace = _trace(self, record)
        if trace:
            members["trace"] = trace
        # Whatever is left in strings but may repaint a terminal; JSON escapes only the oldest control characters.
        return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", _write(members))


def _trace(formatter: logging.Formatter, record: logging.LogRecord) -> str:
    parts = [formatter.formatException(record.exc_info)] if record.exc_info else []
    parts += [text for text in (record.stack_info, getattr(record, "trace", None)) if text]
    return "\n".join(parts)


def set_up(level: str, form: str, stream: TextIO | None = None) -> None:
    """Make the root logger write such lines, to stderr unless another stream is given.

    Args:
        level: one of `LEVELS`; what is less grave is not written.
        form: one of `FORMATS`.
        stream: where to.
    """
    out = logging.StreamHandler(stream or sys.stderr)
    out.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(level=level.upper(), handlers=[out], force=True)
