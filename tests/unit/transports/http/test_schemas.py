"""Unit tests of `flashq.transports.http.schemas`."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, Struct

from flashq.commands.names import check_queue_name
from flashq.errors import BadRequest
from flashq.protocol.replies import Reply
from flashq.transports.http.schemas import QUEUE_NAME, Types, summary, text_of


class Inner(Struct):
    """What stands inside.

    Attributes:
        size: ms, of ``this`` or None.
    """

    size: int


class Base(Struct, kw_only=True):
    """The base.

    Attributes:
        first, second: of both.
    """

    first: int = 3
    second: str | None = None


class Derived(Base, kw_only=True):
    """Does a thing: and more. Then rests.

    Attributes:
        second: of this one,
            in two lines.
    """

    raw: Raw = Raw(b'{"a":1}')
    inner: list[Inner]
    req_id: str | None = None


class Answer(Reply, kw_only=True):
    """An answer."""

    count: int


def test_members_of_a_request() -> None:
    """Each with its type, its default (raw JSON too) and what the docstrings say of it; the mark of lines is none."""
    members = Types().members(Derived)
    assert set(members) == {"first", "second", "raw", "inner"}
    assert members["first"] == {"type": "integer", "default": 3, "description": "Of both."}
    assert members["second"]["description"] == "Of this one, in two lines."
    assert "default" not in members["second"]
    assert members["raw"]["default"] == {"a": 1}
    assert members["inner"] == {"type": "array", "items": {"$ref": "#/components/schemas/Inner"}}


def test_components_say_what_their_docstrings_say() -> None:
    """Wherever they stand; the section on members goes to the members, and null is called null."""
    types = Types()
    types.of([list[Inner] | None])
    inner = types.components()["Inner"]
    assert inner["description"] == "What stands inside."
    assert inner["properties"]["size"]["description"] == "Ms, of `this` or null."


def test_an_answer_under_data_has_nothing_of_lines() -> None:
    """What lines say around it, the envelope says."""
    types = Types()
    types.of([Answer])
    answer = types.components()["Answer"]
    assert set(answer["properties"]) == {"count"}
    assert answer["required"] == ["count"]


def test_texts() -> None:
    """The first paragraph, its first statement, and nothing where docstrings were left out."""
    assert text_of(Derived) == "Does a thing: and more. Then rests."
    assert summary(text_of(Derived)) == "Does a thing"
    bare = type("bare", (), {})
    assert (text_of(bare), summary(text_of(bare))) == ("", "")


@given(st.text(max_size=300) | st.text("abz09_.-/ \x00", max_size=10))
def test_every_name_of_a_queue_fits_the_description(name: str) -> None:
    """What the server takes the description allows; of ASCII it allows nothing else."""
    try:
        check_queue_name(name)
    except BadRequest:
        assert not name.isascii() or name in (".", "..") or not _fits(name)
    else:
        assert _fits(name)


def _fits(name: str) -> bool:
    return 0 < len(name) <= QUEUE_NAME["maxLength"] and re.fullmatch(QUEUE_NAME["pattern"], name) is not None


@pytest.mark.parametrize("name", ["mail", "a.b-c_d", "Größe"])
def test_names_that_fit(name: str) -> None:
    """The usual ones."""
    assert _fits(name)
