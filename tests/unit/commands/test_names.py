"""Unit tests of `flashq.commands.names`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.commands.names import check_queue_name, queue_of
from flashq.engine.queue import Queues
from flashq.errors import BadRequest, LimitReached
from flashq.protocol.limits import MAX_QUEUES


def refused(name: str) -> str:
    """Why a name is refused; empty when it is fine."""
    try:
        check_queue_name(name)
    except BadRequest as error:
        return str(error)
    return ""


@given(st.text(max_size=300))
def test_names(name: str) -> None:
    """Letters, digits, underscore, hyphen and dot of every script, 1 to 256 bytes; nothing else."""
    size = len(name.encode("utf-8", errors="surrogatepass"))
    spelled = all(character.isalnum() or character in "_-." for character in name)
    fine = 0 < size <= 256 and spelled and name not in (".", "..")
    assert (refused(name) == "") is fine


@given(st.text(alphabet=st.characters(categories=["L", "N"]), min_size=1, max_size=64))
def test_letters_and_digits_of_every_script(name: str) -> None:
    """What is a letter or a number may stand in a name."""
    assert refused(name) == ""


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "Queue name cannot be empty"),
        ("x" * 257, "Queue name too long (max 256 chars)"),
        ("€" * 86, "Queue name too long (max 256 chars)"),
        ("a\n", "Queue name must contain only alphanumeric characters, underscores, hyphens, or dots"),
        ("..", "Queue name must contain only alphanumeric characters, underscores, hyphens, or dots"),
    ],
)
def test_sentences(name: str, sentence: str) -> None:
    """The first thing that is wrong is said."""
    assert refused(name) == sentence


def test_a_queue_is_made_once() -> None:
    """The same name gives the same queue; a bad one makes none."""
    queues = Queues()
    queue = queue_of(queues, "q")
    assert queue_of(queues, "q") is queue
    with pytest.raises(BadRequest):
        queue_of(queues, "a b")
    assert list(queues.by_name) == ["q"]


def test_there_are_only_so_many() -> None:
    """One more than there may be is refused by the limit's name; those that are there go on."""
    queues = Queues()
    for number in range(MAX_QUEUES):
        queue_of(queues, f"q{number}")
    with pytest.raises(LimitReached, match=str(MAX_QUEUES)):
        queue_of(queues, "one-more")
    assert queue_of(queues, "q0").name == "q0"
