"""Unit tests of `flashq.security.tokens`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.errors import Unauthorized
from flashq.security import tokens
from flashq.security.tokens import Tokens


@given(st.lists(st.text(min_size=1, max_size=10), min_size=1, max_size=4), st.text(max_size=10))
def test_exactly_the_tokens_are_right(known: list[str], tried: str) -> None:
    """Each of them, and nothing else, whatever the characters."""
    checked = Tokens(known)
    for token in known:
        checked.check(token)
    if tried not in known:
        with pytest.raises(Unauthorized, match=r"^Invalid token$"):
            checked.check(tried)


def test_no_tokens_let_nobody_in() -> None:
    """An empty list is false, and right for nobody."""
    assert not Tokens([])
    assert Tokens(["x"])
    with pytest.raises(Unauthorized):
        Tokens([]).check("")


def test_tokens_are_not_kept() -> None:
    """Only their digests are: what leaks from memory opens nothing."""
    checked = Tokens(["a-secret-word"])
    assert "a-secret-word" not in repr(vars(checked))


def test_every_token_is_looked_at_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long it takes does not tell which of them was right, or how close a guess came."""
    compared: list[bytes] = []

    def compare(one: bytes, other: bytes) -> bool:
        compared.append(other)
        return one == other

    monkeypatch.setattr(tokens, "compare_digest", compare)
    checked = Tokens(["first", "second", "third"])
    for token in ("first", "third"):
        checked.check(token)
    with pytest.raises(Unauthorized):
        checked.check("wrong")
    assert len(compared) == 9
