"""Unit tests of `flashq.security.signing`."""

from flashq.security.signing import sign


def test_a_known_signature() -> None:
    """The second test case of RFC 4231, so that any implementation of HMAC-SHA256 agrees."""
    assert sign("Jefe", b"what do ya want for nothing?") == (
        "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
    )


def test_a_secret_is_its_utf8() -> None:
    """Whatever characters it has."""
    assert sign("ü", b"") == "cb82a97d6a98f56f02a87d90bcb1b0a572b76e7d7af3cf44adede30df678edef"
