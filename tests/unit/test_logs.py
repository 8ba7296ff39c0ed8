"""Unit tests of `flashq.logs`."""

import io
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from msgspec import json

from flashq.logs import MAX_VALUE, escaped, set_up, shown

HOSTILE = "a\n2026-01-01 ERROR forged\x1b[2J\u202etxt\x9b31m\u2028"


@pytest.fixture
def out() -> Iterator[io.StringIO]:
    """What is written; the root logger is put back afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = before


def said(out: io.StringIO, form: str, message: str, **extra: Any) -> str:
    """What one line of the log looks like."""
    set_up("info", form, out)
    logging.getLogger("flashq.worker").info(message, extra=extra)
    return out.getvalue()


def test_a_line_for_people(out: io.StringIO) -> None:
    """Time, level, logger, message, then the facts; values with blanks are quoted."""
    text = said(out, "text", "failed", flashq={"job": 7, "error": 'no "such" thing'})
    time, rest = text.split(" ", 1)
    assert rest == 'INFO    flashq.worker: failed job=7 error="no \\"such\\" thing"\n'
    assert time.count(":") >= 2


def test_a_line_for_programs(out: io.StringIO) -> None:
    """One JSON object with the facts as they are; no fact takes the place of the time, the level or the message."""
    line = json.decode(said(out, "json", "failed", flashq={"job": 7, "level": "faked", "odd": object}, trace="a\nb"))
    assert {name: line[name] for name in ("level", "logger", "message", "job", "trace")} == {
        "level": "info",
        "logger": "flashq.worker",
        "message": "failed",
        "job": 7,
        "trace": "a\nb",
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_nobody_forges_a_line(out: io.StringIO, form: str) -> None:
    """Whatever a job brings along, one event is one line without control characters."""
    text = said(out, form, HOSTILE, flashq={"task": HOSTILE, "error": HOSTILE})
    assert text.count("\n") == 1
    assert not [char for char in text[:-1] if ord(char) < 32 or 127 <= ord(char) < 160]


@pytest.mark.parametrize("form", ["text", "json"])
def test_half_characters_are_written_as_what_they_are(out: io.StringIO, form: str) -> None:
    """A file name may hold what UTF-8 cannot (lone surrogates); the line is written all the same."""
    text = said(out, form, "failed \udcff", flashq={"job": 7, "error": "no such file: \udcff"}, trace="at \udcff")
    text.encode()
    assert text.count("\\udcff") == 3
    assert "7" in text


def test_a_trace_is_indented_below_its_line(out: io.StringIO) -> None:
    """Its lines cannot be taken for events, and its control characters are harmless too."""
    lines = said(out, "text", "failed", trace="first\n\x1b[2Jsecond").splitlines()
    assert lines[1:] == ["    first", "    \\x1b[2Jsecond"]


def test_an_exception_is_a_trace(out: io.StringIO) -> None:
    """Logged exceptions come with their stack."""
    set_up("info", "text", out)
    try:
        raise ValueError("x")
    except ValueError:
        logging.getLogger("flashq.worker").exception("a fault")
    assert out.getvalue().splitlines()[-1] == "    ValueError: x"


def test_the_level_counts(out: io.StringIO) -> None:
    """What is less grave is not written."""
    set_up("warning", "text", out)
    logging.getLogger("flashq.worker").info("hidden")
    logging.getLogger("flashq.worker").warning("seen")
    assert "hidden" not in out.getvalue()
    assert "seen" in out.getvalue()


def test_long_values_are_cut() -> None:
    """An error of a megabyte is no line of a log."""
    assert len(shown("x" * 10_000)) == MAX_VALUE + 3


@pytest.mark.parametrize(("value", "text"), [("a", "a"), (7, "7"), ("", '""'), ("a b", '"a b"'), ("a=b", '"a=b"')])
def test_values_are_quoted_where_they_must_be(value: object, text: str) -> None:
    """What stands between blanks can be read back."""
    assert shown(value) == text


def test_ordinary_text_stays() -> None:
    """Letters of all languages are no control characters."""
    assert escaped("Grüße, 你好, שלום 🎉") == "Grüße, 你好, שלום 🎉"
