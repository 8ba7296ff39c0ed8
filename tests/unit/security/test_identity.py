"""Unit tests of `flashq.security.identity`."""

import pytest

from flashq.security.identity import ADMIN, ROLES, Identity, Scope


@pytest.mark.parametrize(
    ("patterns", "queue", "belongs"),
    [
        (("emails",), "emails", True),
        (("emails",), "emails-eu", False),
        (("emails*",), "emails-eu", True),
        (("emails*",), "my-emails", False),
        (("Emails",), "emails", False),
        (("a", "b?"), "b1", True),
        (("a", "b?"), "b12", False),
        (("[ab]-*",), "b-x", True),
        (("*",), "anything", True),
        ((), "anything", False),
    ],
)
def test_which_queues_belong_to_a_scope(patterns: tuple[str, ...], queue: str, belongs: bool) -> None:
    """Patterns are a shell's, the whole name has to fit, and upper case is not lower case."""
    assert (queue in Scope(patterns)) is belongs


def test_scopes_of_the_same_patterns_are_the_same() -> None:
    """Two tokens for the same queues stand for each other."""
    assert Scope(("a", "b")) == Scope(("a", "b"))
    assert Scope(("a",)) != Scope(("a", "b"))


def test_an_identity_is_the_strongest_unless_it_says_less() -> None:
    """A name alone is an administrator of everything, and is not revoked."""
    identity = Identity("x")
    assert (identity.role, identity.allowed, identity.scope, identity.revoked) == (ADMIN, None, None, False)
    assert ROLES[-1] == ADMIN
