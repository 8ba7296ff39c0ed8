"""What is printed is visible, means what it meant, and stays on its line."""

import io
import json as stdjson
import re
import sys

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.cli import show
from flashq.cli.show import Show, cell, duration, members, moment, visible, visible_json
from flashq.model import Stats

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)

COLUMNS = (("name", lambda one: one[0]), ("value", lambda one: one[1]))


class Terminal(io.TextIOWrapper):
    """A stream that says that somebody looks at it."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="utf-8")

    def isatty(self) -> bool:
        """Somebody looks."""
        return True

    def written(self) -> str:
        """What has been shown."""
        self.flush()
        return self.buffer.getvalue().decode()  # type: ignore[attr-defined]


@given(st.text())
def test_text_is_visible(text: str) -> None:
    """No character that a terminal obeys survives, and visible text is left alone."""
    shown = visible(text)
    assert shown.isprintable()
    assert text.isprintable() <= (shown == text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", r"\x1b[2J"),
        ("\x9b31m", r"\x9b31m"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("\x7f\x00", r"\x7f\x00"),
        ("\ud800", r"\ud800"),
        ("grün 漢字 🎉", "grün 漢字 🎉"),
    ],
)
def test_hostile_text(text: str, shown: str) -> None:
    """Escape sequences in both forms, line ends, deletions, changed direction and broken text appear as escapes."""
    assert visible(text) == shown


@given(JSON)
def test_json_is_visible_and_means_the_same(value: object) -> None:
    """Every reader of JSON gets the same value out of what is shown, in which nothing is invisible."""
    shown = visible_json(msgspec.json.encode(value))
    assert shown.isprintable()
    assert stdjson.loads(shown) == value


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        (b'{"a":\t1,\r"b": [ 2 ]}', '{"a":1,"b":[2]}'),
        ('"\x7f\x9b\u202e"'.encode(), r'"\u007f\u009b\u202e"'),
        ('"\U000e0041"'.encode(), r'"\udb40\udc41"'),
        (b'"\\u001b[2J"', r'"\u001b[2J"'),
        (b"12345678901234567890.10", "12345678901234567890.10"),
    ],
)
def test_hostile_json(document: bytes, shown: str) -> None:
    """White space between the parts goes, control characters in strings become escapes, numbers keep their digits."""
    assert visible_json(document) == shown


@given(st.integers(-(2**63), 2**63))
def test_any_number_is_a_moment(ms: int) -> None:
    """A time that no calendar has is shown as a number, not as a traceback."""
    assert moment(ms).isprintable()


def test_moments() -> None:
    """Nothing is shown as nothing; a time is shown to the millisecond with its zone."""
    assert moment(None) == moment(0) == "-"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d:\d\d\.123[+-]\d\d:\d\d", moment(1_700_000_000_123))


@pytest.mark.parametrize(
    ("ms", "text"), [(0, "0 ms"), (999, "999 ms"), (1_500, "1.5 s"), (120_000, "2 min"), (7_200_000, "2 h")]
)
def test_durations(ms: int, text: str) -> None:
    """Durations have the unit that people would choose."""
    assert duration(ms) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        ("", "-"),
        ([], "-"),
        (0, "0"),
        (True, "yes"),
        (False, "no"),
        (1234.5, "1,234.50"),
        (["a", 1, "\x1b"], r"a, 1, \x1b"),
        (msgspec.Raw(b'{"a": "\x7f"}'), r'{"a":"\u007f"}'),
        ("\n", r"\n"),
    ],
)
def test_cells(value: object, text: str) -> None:
    """Every kind of value has one line to be shown on."""
    assert cell(value) == text


def test_a_plain_table(capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are aligned and hostile cells harmless; a megabyte is cut."""
    Show(as_json=False).listing([("a", 1), ("long\x1b", "x" * 1_000_000)], COLUMNS, "nothing")
    heading, first, second = capsys.readouterr().out.splitlines()
    assert heading == "name      value"
    assert first == "a         1"
    assert second.startswith(r"long\x1b  xxx")
    assert len(second) == len("long\\x1b  ") + show.CELL_CHARS


def test_an_empty_listing(capsys: pytest.CaptureFixture[str]) -> None:
    """People are told that there is nothing; programs get an empty list."""
    Show(as_json=False).listing([], COLUMNS, "no things")
    Show(as_json=True).listing([], COLUMNS, "no things")
    assert capsys.readouterr().out == "no things\n[]\n"


def test_facts(capsys: pytest.CaptureFixture[str]) -> None:
    """One line a fact, aligned; JSON has the thing itself."""
    stats = Stats(1, 2, 3, 4, 5, 6)
    Show(as_json=False).facts(stats, members(stats, less=["queued", "dlq"]))
    Show(as_json=True).facts(stats, {})
    *lines, document = capsys.readouterr().out.splitlines()
    assert lines == ["processing        2", "delayed           3", "completed         5", "waiting children  6"]
    assert stdjson.loads(document)["waiting_children"] == 6


def test_done(capsys: pytest.CaptureFixture[str]) -> None:
    """A deed is a sentence for people and a document for programs, which always hold something."""
    Show(as_json=False).done("two\nlines", id=1)
    Show(as_json=True).done("not seen", id=1)
    Show(as_json=True).done("not seen")
    assert capsys.readouterr().out == 'two\\nlines\n{"id":1}\n{"ok":true}\n'


def test_complaints(capsys: pytest.CaptureFixture[str]) -> None:
    """An error goes to the error stream, in one line, with the server's code where it has one."""
    Show(as_json=False).complain("bad\x1b\nthing", "not_active", refusal=True)
    Show(as_json=False).complain("no server", "connection_lost", refusal=False)
    Show(as_json=True).complain("bad\x1b", "usage", refusal=False)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        r"flashq: bad\x1b\nthing [not_active]",
        "flashq: no server",
        r'{"error":"bad\u001b","code":"usage"}',
    ]


def test_a_poor_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal without the letters gets escapes, and JSON is UTF-8 all the same."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", stream)
    Show(as_json=False).text("grün")
    Show(as_json=True).document("grün")
    assert stream.buffer.getvalue() == b'gr\\xfcn\n"gr\xc3\xbcn"\n'  # type: ignore[attr-defined]


@pytest.mark.parametrize("rich", [True, False])
def test_a_table_on_a_terminal(monkeypatch: pytest.MonkeyPatch, rich: bool) -> None:
    """Pretty or plain, a cell cannot speak to the terminal: neither escapes nor markup work."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(show, "HAS_RICH", rich)
    monkeypatch.setenv("TERM", "dumb")
    Show(as_json=False).listing([("a\x1b]0;title\x07", "[bold]b[/bold]")], COLUMNS, "nothing")
    assert r"a\x1b]0;title\x07" in terminal.written()
    assert "[bold]b[/bold]" in terminal.written()
    assert "\x1b" not in terminal.written()


@pytest.mark.parametrize("rich", [True, False])
@pytest.mark.parametrize("total", [10, None])
def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch, rich: bool, total: int | None) -> None:
    """A bar is drawn on the error stream, never on the stream of the answer, whether or not the end is known."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(show, "HAS_RICH", rich)
    monkeypatch.setenv("TERM", "xterm")
    with Show(as_json=False).progress("work\x07", total) as advance:
        advance(4)
        advance(6)
    assert sys.stdout.getvalue() == ""  # type: ignore[attr-defined]
    assert r"work\x07" in terminal.written()
    assert "\x07" not in terminal.written()


def test_no_progress_in_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    """A bar in a log file would be noise, so there is none."""
    with Show(as_json=False).progress("work", 10) as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")


def test_lines_of_progress_in_a_log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that takes long says so now and then, on the error stream; short work says nothing."""
    times = iter([0.0, 4.0, 10.0, 12.0, 20.5])
    monkeypatch.setattr(show, "monotonic", lambda: next(times))
    with Show(as_json=True).progress("work\x07", 10) as advance:
        for _ in range(4):
            advance(2)
    assert capsys.readouterr() == ("", "work\\x07: 4 of 10\nwork\\x07: 8 of 10\n")


def test_nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    """A script is not asked, which counts as a no."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert not Show(as_json=False).confirm("Sure?")


@pytest.mark.parametrize(("typed", "answer"), [("y\n", True), ("n\n", False), ("\n", False)])
def test_somebody_to_ask(monkeypatch: pytest.MonkeyPatch, typed: str, answer: bool) -> None:
    """Somebody at a terminal is asked, on the error stream, and has to say yes."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    keyboard = io.StringIO(typed)
    monkeypatch.setattr(keyboard, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", keyboard)
    assert Show(as_json=False).confirm("Sure?") is answer
    assert "Sure?" in terminal.written()
