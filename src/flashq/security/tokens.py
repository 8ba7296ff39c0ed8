"""Is this token one of ours, and whose?

Tokens are compared by their SHA-256, each of them every time, in constant time: how long a refusal takes tells nothing
about how close a guess came.
"""

from collections.abc import Sequence
from hashlib import sha256
from hmac import compare_digest

from flashq.security.identity import Identity


class Tokens:
    """The tokens of which a client must show one, and whose they are. Only their digests are kept."""

    def __init__(self, known: Sequence[tuple[bytes, Identity]]) -> None:
        """Args: ``known``: `digest` of each token, and whose it is."""
        self._known = known

    def find(self, token: str) -> Identity | None:
        """Whose token this is; None when it is nobody's."""
        shown = digest(token)
        matches = [identity for known, identity in self._known if compare_digest(shown, known)]
        return matches[0] if matches else None


def digest(token: str) -> bytes:
    """What is kept of a token. It holds 256 random bits, so that a slow hash would only be work for the server."""
    return sha256(token.encode()).digest()
