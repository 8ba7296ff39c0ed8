"""JSON from people is taken as it is, or refused with the place of the fault."""

import json as stdjson

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.cli.payloads import BadText, lines, parse, parse_job

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
    max_leaves=20,
)


@given(JSON, st.sampled_from([None, 0, 2]))
def test_json_is_taken_as_it_is(value: object, indent: int | None) -> None:
    """However it is laid out, the value is the same and stands on one line."""
    raw = bytes(parse(stdjson.dumps(value, indent=indent, ensure_ascii=False).encode()))
    assert stdjson.loads(raw) == value
    assert b"\n" not in raw


@pytest.mark.parametrize("text", [b"12345678901234567890123", b"1.10", b"1e400", b'"\\u00e9"', b'{"a":1,"a":2}'])
def test_nothing_is_rewritten(text: bytes) -> None:
    """Digits, escapes and doubled members arrive as they were typed."""
    assert bytes(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"", "not JSON: there is nothing"),
        (b" \n", "not JSON: there is nothing"),
        (b'{"a":', "not JSON: ends too early"),
        (b'{"a":1,}', "not JSON: trailing comma in object (byte 7)"),
        (b"[1 2]", "(byte 3)"),
        (b"1 2", "not JSON: trailing characters (byte "),
        (b"hello", "a text needs quotes of its own: '\"hello\"'"),
        (b"NaN", "a text needs quotes"),
        (b"'a'", "not JSON: invalid character (byte 0)"),
        (b'"\xff"', "not JSON: not UTF-8 at byte 1"),
        (b'"\x01"', "not JSON: invalid character (byte 1)"),
        (b"[" * 100_000 + b"]" * 100_000, "not JSON: nested too deep"),
    ],
)
def test_bad_json(text: bytes, sentence: str) -> None:
    """What is not JSON is refused with what is wrong and at which byte."""
    with pytest.raises(BadText) as caught:
        parse(text)
    assert sentence in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_whole_job() -> None:
    """Only the members that the text names come out, so that options fill in the others; unknown ones are ignored."""
    job = parse_job(b'{"data": [1], "priority": 0, "delay": null, "colour": 1}')
    assert {name: job[name] for name in job if name != "data"} == {"priority": 0, "delay": None}
    assert bytes(job["data"]) == b"[1]"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b'{"priority": 1}', "not a job: Object missing required field `data`"),
        (b'{"data": 1, "priority": "high"}', "not a job: Expected `int`, got `str` - at `$.priority`"),
        (b'{"data": 1, "delay": -1}', "not a job: "),
        (b"[1]", "not a job: Expected `object`, got `array`"),
        (b"{", "not JSON: "),
    ],
)
def test_not_a_job(text: bytes, sentence: str) -> None:
    """A member that may not be what it is is named."""
    with pytest.raises(BadText) as caught:
        parse_job(text)
    assert str(caught.value).startswith(sentence)


def test_lines_know_their_number() -> None:
    """Blank lines are skipped and counted, line ends of both kinds go, and the sizes add up to what was read."""
    file = [b"1\r\n", b"\n", b"  \n", b" 2 \n", b"3"]
    assert [(line.number, line.text, line.size) for line in lines(file)] == [(1, b"1", 3), (4, b"2", 8), (5, b"3", 1)]
