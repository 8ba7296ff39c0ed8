"""Checking calls and reading arguments by a function's own signature."""

from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw, ValidationError

from flashq import BadRequest, Context
from flashq.tasks.arguments import Arguments


def read(function: Callable[..., Any], args: object, kwargs: object = None, first: Any = ()) -> tuple[Any, Any]:
    """Write arguments as JSON and read them again."""
    arguments = Arguments(function, "task 't'")
    raw = [Raw(msgspec.json.encode(value)) for value in first]
    return arguments.read(Raw(msgspec.json.encode(args)), Raw(msgspec.json.encode(kwargs or {})), raw)


def plain(a: int, b: str = "b", *, c: date | None = None) -> None:
    """Positional, default, keyword-only."""


def stars(a: int, *rest: date, k: int = 0, **more: date) -> None:
    """Any number of both."""


def bare(a, b=None):
    """Without annotations."""


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "expected"),
    [
        (plain, [1], {}, ([1], {})),
        (plain, [1, "x"], {"c": "2026-01-02"}, ([1, "x"], {"c": date(2026, 1, 2)})),
        (plain, [], {"a": 1, "b": "x"}, ([], {"a": 1, "b": "x"})),
        (stars, [1], {}, ([1], {})),
        (
            stars,
            [1, "2026-01-02", "2026-01-03"],
            {"k": 3, "z": "2026-01-04"},
            ([1, date(2026, 1, 2), date(2026, 1, 3)], {"k": 3, "z": date(2026, 1, 4)}),
        ),
        (bare, [{"x": [1]}], {"b": None}, ([{"x": [1]}], {"b": None})),
    ],
)
def test_arguments_have_the_annotated_types(
    function: Callable[..., Any], args: Any, kwargs: Any, expected: tuple[Any, Any]
) -> None:
    """Whatever kind of parameter takes them."""
    assert read(function, args, kwargs) == expected


@pytest.mark.parametrize(
    ("function", "args", "kwargs", "error", "where"),
    [
        (plain, ["one"], {}, ValidationError, r"\$\[0\]"),
        (plain, [1], {"c": "tomorrow"}, ValidationError, r"\$.c"),
        (plain, [1, "b", 3], {}, ValidationError, "length"),
        (plain, [1], {"d": 1}, ValidationError, "unknown field `d`"),
        (plain, [], {}, TypeError, "task 't': missing a required argument: 'a'"),
        (plain, [1], {"a": 2}, TypeError, "multiple values"),
        (stars, [1, 2], {}, ValidationError, "date"),
        (stars, [1], {"z": 2}, ValidationError, "date"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(
    function: Callable[..., Any], args: Any, kwargs: Any, error: type[Exception], where: str
) -> None:
    """The error says which and why."""
    with pytest.raises(error, match=where):
        read(function, args, kwargs)


def test_what_comes_first_is_read_by_the_first_annotations() -> None:
    """The results before a job in a chain stand in front of its own arguments."""
    assert read(plain, ["x"], {}, first=[7]) == ([7, "x"], {})
    assert read(bare, [], {}, first=[[1, 2]]) == ([[1, 2]], {})


@given(st.integers(), st.text(), st.booleans())
def test_a_call_is_checked_as_python_would(a: int, b: str, keyword: bool) -> None:
    """The quick check and the thorough one agree with the function itself."""
    arguments = Arguments(plain, "task 't'")
    args, kwargs = ((a,), {"b": b}) if keyword else ((a, b), {})
    arguments.check(args, kwargs)
    assert arguments.named(args, kwargs) == {"a": a, "b": b, "c": None}
    for bad in ((), (a, b, a)):
        with pytest.raises(TypeError, match="task 't'"):
            arguments.check(bad, {})


def test_context_parameters_are_not_arguments() -> None:
    """Callers leave them out, wherever they stand."""

    def first(context: Context, a: int) -> None:
        """The usual place."""

    def keyword(a: int, *, job: Context) -> None:
        """By keyword."""

    one, two = Arguments(first, "t"), Arguments(keyword, "t")
    assert (one.context_first, one.contexts) == (True, ())
    assert (two.context_first, two.contexts) == (False, (("job", None),))
    one.check((1,), {})
    two.check((1,), {})
    with pytest.raises(TypeError):
        one.check((None, 1), {})


def test_nobody_pushes_a_context() -> None:
    """``**kwargs`` would take it, and the function would be handed an argument where it expects its context."""

    def first(job: Context, **more: int) -> None:
        """In front."""

    def keyword(*, job: Context | None = None, **more: int) -> None:
        """By keyword."""

    for function in (first, keyword):
        arguments = Arguments(function, "t")
        arguments.check((), {"other": 1})
        with pytest.raises(TypeError, match="nobody's argument: job"):
            arguments.read(Raw(b"[]"), Raw(b'{"job":1}'))


def test_a_context_that_has_no_name_and_does_not_stand_first_is_refused() -> None:
    """There is no way to hand it over in every call."""

    def later(a: int, job: Context, /) -> None:
        """Between positional-only parameters."""

    def many(*jobs: Context) -> None:
        """As if there were several."""

    for function in (later, many):
        with pytest.raises(BadRequest, match="cannot get the context"):
            Arguments(function, "t")


def test_annotations_may_name_what_is_defined_later() -> None:
    """They are looked at again when a job is read; the context is known by its name until then."""
    code = (
        "from __future__ import annotations\n"
        "from flashq import Context\n"
        "def f(context: Context, a: Later) -> Later: ...\n"
    )
    names: dict[str, Any] = {}
    exec(compile(code, "later", "exec", dont_inherit=True), names)
    arguments = Arguments(names["f"], "t")
    assert arguments.context_first
    names["Later"] = date
    assert arguments.read(Raw(b'["2026-01-02"]'), Raw(b"{}")) == ([date(2026, 1, 2)], {})
    assert arguments.result.decode(b'"2026-01-02"') == date(2026, 1, 2)


def test_an_annotation_that_json_cannot_carry_is_refused_at_once() -> None:
    """Where the task is declared, not where its first job fails."""

    def takes(lock: Arguments) -> None:
        """Something that lives in one process."""

    with pytest.raises(BadRequest, match="task 't', parameter 'lock': Arguments cannot be carried as JSON"):
        Arguments(takes, "task 't'")


def test_results_are_read_by_the_return_annotation() -> None:
    """And as plain JSON where there is none, or none that JSON could carry."""

    def dated() -> date:
        """Says what it returns."""
        return date.min

    def opaque() -> Arguments:
        """Says what nobody can read."""
        raise NotImplementedError

    assert Arguments(dated, "t").result.decode(b'"2026-01-02"') == date(2026, 1, 2)
    assert Arguments(bare, "t").result.decode(b'"2026-01-02"') == "2026-01-02"
    assert Arguments(opaque, "t").result.decode(b"[1]") == [1]


def test_an_annotation_that_only_the_type_checker_sees_is_no_annotation_of_the_result() -> None:
    """Whoever enqueues has no need of it, and must not get an error after the job is on its way."""
    names: dict[str, Any] = {}
    exec(compile("def f(a: 'Nowhere') -> 'Nowhere': ...", "unseen", "exec", dont_inherit=True), names)
    arguments = Arguments(names["f"], "t")
    assert arguments.result.decode(b"[1]") == [1]
    with pytest.raises(NameError, match="Nowhere"):
        arguments.read(Raw(b"[1]"), Raw(b"{}"))


def test_parameters_may_have_any_name() -> None:
    """Also those that mean something to what reads them."""

    def odd(self: int, __x: int = 2, __struct_fields__: int = 3, p0: int = 4) -> None:
        """Names to stumble over."""

    arguments = Arguments(odd, "t")
    assert arguments.read(Raw(b"[1,5]"), Raw(b'{"p0":6,"__struct_fields__":7}')) == (
        [1, 5],
        {"p0": 6, "__struct_fields__": 7},
    )
    with pytest.raises(ValidationError, match=r"\$\.p0"):
        arguments.read(Raw(b"[1]"), Raw(b'{"p0":"x"}'))
