"""Is this token one of ours?

Tokens are compared by their SHA-256, each of them every time, in constant time: how long a refusal takes tells nothing
about how close a guess came.
"""

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest

from flashq.errors import Unauthorized


class Tokens:
    """The tokens of which a client must show one. Only their digests are kept."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._digests = [sha256(token.encode()).digest() for token in tokens]

    def __bool__(self) -> bool:
        return bool(self._digests)

    def check(self, token: str) -> None:
        """Return if the token is one of ours.

        Raises:
            Unauthorized: it is not.
        """
        digest = sha256(token.encode()).digest()
        matches = [compare_digest(digest, known) for known in self._digests]
        if not any(matches):
            raise Unauthorized("Invalid token")
