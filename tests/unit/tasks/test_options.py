"""Options of jobs, and how unique keys are made."""

from datetime import timedelta
from typing import Any

import pytest

from flashq.errors import BadRequest
from flashq.tasks.arguments import Arguments
from flashq.tasks.options import Options, Unique, unique_key


def pay(user: int, amount: int = 1) -> None:
    """What is to happen once."""


ARGUMENTS = Arguments(pay, "task 'pay'")


def test_changes_replace_what_they_name() -> None:
    """Durations in either form; everything else stays."""
    options = Options(queue="a", priority=3).changed(delay=timedelta(seconds=1), ttl=5)
    assert (options.queue, options.priority, options.delay, options.ttl) == ("a", 3, 1_000, 5)
    assert options.changed(delay=None).delay is None


def test_only_what_is_set_is_said() -> None:
    """The server's own defaults stay the server's."""
    assert Options(queue="a").members() == {"priority": 0}
    assert Options(queue="a", max_attempts=0, tags=["x"]).members() == {"priority": 0, "max_attempts": 0, "tags": ["x"]}


def test_slips_are_refused() -> None:
    """A misspelt option must not be a job without it."""
    with pytest.raises(TypeError):
        Options(queue="a").changed(dealy=1)
    with pytest.raises(TypeError, match="milliseconds"):
        Options(queue="a").changed(timeout=1.5)


@pytest.mark.parametrize(
    ("unique", "key"),
    [
        ("user-{user}", "user-7"),
        ("{user}/{amount}", "7/1"),
        (lambda user, amount=1: f"f{user}{amount}", "f71"),
    ],
)
def test_keys_are_made_of_the_arguments(unique: Unique, key: str) -> None:
    """Defaults count as arguments."""
    assert unique_key(unique, "pay", ARGUMENTS, (7,), {}) == key
    assert unique_key(unique, "pay", ARGUMENTS, (), {"user": 7}) == key


def test_equal_calls_have_equal_keys() -> None:
    """However they are written; others have other keys."""

    def key(*args: Any, **kwargs: Any) -> str:
        return unique_key(True, "pay", ARGUMENTS, args, kwargs)

    assert key(7) == key(user=7) == key(7, 1) == key(7, amount=1)
    assert len({key(7), key(8), key(7, 2), unique_key(True, "other", ARGUMENTS, (7,), {})}) == 4


def test_keys_fit_into_a_key() -> None:
    """A long one becomes its hash, and still tells calls apart."""
    keys = {unique_key(lambda user: user, "pay", ARGUMENTS, ("x" * 300 + end,), {}) for end in "ab"}
    assert len(keys) == 2
    assert all(len(key) == 64 for key in keys)


def test_keys_do_not_depend_on_the_order_of_what_has_none() -> None:
    """Members of a dict, and of a set, whose order is another one in every process."""

    def key(user: object) -> str:
        return unique_key(True, "pay", ARGUMENTS, (user,), {})

    assert key({"a": 1, "b": 2}) == key({"b": 2, "a": 1})
    words = [f"word{number}" for number in range(50)]
    assert key(set(words)) == key(sorted(words))


def test_a_key_of_arguments_that_are_still_to_come_is_refused() -> None:
    """A part of a chain has its first argument only when it runs; the error says what to do."""
    for unique in (True, "user-{user}"):
        with pytest.raises(BadRequest, match=r"task 'pay': its unique key .* use si\(\)"):
            unique_key(unique, "pay", ARGUMENTS, (), {"amount": 3})
