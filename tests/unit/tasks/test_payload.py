"""The envelope, and values that must come back as they went."""

import itertools
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq import BadRequest
from flashq.tasks.payload import Envelope, check_carried, decoder, read_envelope, to_json


@dataclass
class Address:
    """A value of the user's own."""

    street: str
    number: int


class Point(msgspec.Struct):
    """Another."""

    x: float
    y: float


class Colour(Enum):
    """Another."""

    RED = "red"


class Model:
    """What pydantic's models look like from here."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Model) and other.name == self.name

    __hash__ = None

    def model_dump(self, *, mode: str) -> dict[str, str]:
        assert mode == "json"
        return {"name": self.name}

    @classmethod
    def model_validate(cls, value: Any) -> "Model":
        if not isinstance(value, dict):
            raise ValueError("not an object")  # noqa: TRY004 - as pydantic does
        return cls(value["name"])


class Opaque:
    """A value without any JSON form."""


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Address, Address("Main", 1)),
        (Point, Point(1.5, -2.0)),
        (Colour, Colour.RED),
        (datetime, datetime(2026, 3, 29, 2, 30, tzinfo=UTC)),
        (date, date(2026, 2, 28)),
        (timedelta, timedelta(hours=1, microseconds=3)),
        (UUID, UUID(int=7)),
        (Decimal, Decimal("0.10")),
        (bytes, b"\x00\xff"),
        (Model, Model("ada")),
        (PurePosixPath, PurePosixPath("/srv/in")),
        (Path, Path("in")),
        (set[int], {1, 2}),
        (list[Model], [Model("a"), Model("b")]),
        (dict[str, Decimal], {"eur": Decimal("1.00")}),
        (Address | None, None),
        (tuple[int, str], (1, "a")),
        (list[object], [1, {"a": None}]),
    ],
    ids=map(str, itertools.count()),
)
def test_values_come_back_by_their_annotation(kind: Any, value: object) -> None:
    """What a task is given in its worker equals what it was called with."""
    check_carried(kind, "here")
    assert decoder(kind).decode(to_json(value)) == value


@pytest.mark.parametrize("kind", [Opaque, list[Opaque], dict[str, Opaque], Opaque | None, tuple[int, Opaque]])
def test_types_without_a_json_form_are_refused(kind: Any) -> None:
    """The error says where and what to use instead."""
    with pytest.raises(BadRequest, match="task 'x', parameter 'y': Opaque cannot be carried as JSON"):
        check_carried(kind, "task 'x', parameter 'y'")


def test_values_without_a_json_form_are_refused() -> None:
    """Never pickled."""
    with pytest.raises(TypeError, match="Opaque has no JSON form"):
        to_json([Opaque()])
    with pytest.raises(msgspec.ValidationError, match="Opaque has no JSON form"):
        decoder(Opaque).decode(b"{}")


def test_an_envelope_says_nothing_that_goes_without_saying() -> None:
    """A task without arguments is its name."""
    assert to_json(Envelope("a.b")) == b'{"task":"a.b"}'
    assert to_json(Envelope("a.b", (1,), {"k": 2}, {"h": "v"}, "first")) == (
        b'{"task":"a.b","args":[1],"kwargs":{"k":2},"headers":{"h":"v"},"use":"first"}'
    )


@given(st.lists(st.integers(-(2**53), 2**53)), st.dictionaries(st.text(), st.text()), st.text())
def test_envelopes_are_read_as_they_were_written(args: list[int], headers: dict[str, str], name: str) -> None:
    """For every name, argument and header."""
    read = read_envelope(to_json(Envelope(name, args, {"a": name}, headers)))
    assert (read.task, msgspec.json.decode(read.args), read.headers) == (name, args, headers)
    assert msgspec.json.decode(read.kwargs) == {"a": name}


@pytest.mark.parametrize("payload", [b"null", b"[]", b'{"args":[]}', b'{"task":1}', b'{"task":"a","use":"some"}'])
def test_other_payloads_are_no_envelopes(payload: bytes) -> None:
    """A queue may hold jobs that no task was meant by."""
    with pytest.raises(msgspec.DecodeError):
        read_envelope(payload)
