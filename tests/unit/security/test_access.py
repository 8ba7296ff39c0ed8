"""Unit tests of `flashq.security.access`."""

import pytest

from flashq.errors import Unauthorized
from flashq.security.access import Access


def test_without_tokens_everybody_is_the_same_administrator() -> None:
    """Nothing has to be shown, and whatever is shown is right."""
    access = Access()
    assert access.anonymous is not None
    assert access.anonymous.allowed is None
    assert access.identify("anything", "192.0.2.1", 0) is access.anonymous


def test_with_tokens_nobody_is_anonymous() -> None:
    """One has to be shown, and it has to be right."""
    access = Access(["one", "two"])
    assert access.anonymous is None
    assert access.identify("two", "192.0.2.1", 0).name == "auth-token-2"
    with pytest.raises(Unauthorized, match=r"^Invalid token$"):
        access.identify("three", "192.0.2.1", 0)
