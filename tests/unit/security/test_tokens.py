"""Unit tests of `flashq.security.tokens`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.security import tokens
from flashq.security.identity import Identity
from flashq.security.tokens import Tokens, digest


def known(*words: str) -> Tokens:
    """Each word is the token of an identity of the same name."""
    return Tokens([(digest(word), Identity(word)) for word in words])


@given(st.lists(st.text(min_size=1, max_size=10), max_size=4, unique=True), st.text(max_size=10))
def test_exactly_the_tokens_are_right(words: list[str], tried: str) -> None:
    """Each of them is its owner's, and nothing else is anybody's, whatever the characters."""
    checked = known(*words)
    for word in {*words, tried}:
        found = checked.find(word)
        assert (found.name if found else None) == (word if word in words else None)


def test_tokens_are_not_kept() -> None:
    """Only their digests are: what leaks from memory opens nothing."""
    checked = Tokens([(digest("a-secret-word"), Identity("name"))])
    assert "a-secret-word" not in repr(vars(checked))


def test_every_token_is_looked_at_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes does not tell which of them was right, or how close a guess came."""
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr(tokens, "compare_digest", compare)
    checked = known("first", "second", "third")
    for token in ("first", "third", "wrong"):
        checked.find(token)
    assert len(compared) == 9
