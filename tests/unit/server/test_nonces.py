"""Unit tests of `flashq.server.nonces`."""

from flashq.server.nonces import Nonces


def test_words_for_tokens() -> None:
    """Many, all different, of 64 bits, and without the dot that separates the parts of a token."""
    nonces = Nonces()
    words = [nonces() for _ in range(2_000)]
    assert len(set(words)) == len(words)
    assert all(len(word) == 16 and int(word, 16) >= 0 for word in words)
