"""Is this token one of ours, and whose?

Tokens are compared by their SHA-256, each of them every time, in constant time: how long a refusal takes tells nothing
about how close a guess came.
"""

from collections.abc import Iterable
from hashlib import sha256
from hmac import compare_digest

from flashq.errors import Unauthorized
from flashq.security.identity import Identity


class Tokens:
    """The tokens of which a client must show one, and whose they are. Only their digests are kept."""

    def __init__(self, tokens: Iterable[tuple[str, Identity]]) -> None:
        self._known = [(digest(token), identity) for token, identity in tokens]

    def __bool__(self) -> bool:
        return bool(self._known)

    def identify(self, token: str) -> Identity:
        """Whose token this is.

        Raises:
            Unauthorized: it is nobody's.
        """
        shown = digest(token)
        matches = [identity for known, identity in self._known if compare_digest(shown, known)]
        if not matches:
            raise Unauthorized("Invalid token")
        return matches[0]


def digest(token: str) -> bytes:
    """What is kept of a token. It holds 256 random bits, so that a slow hash would only be work for the server."""
    return sha256(token.encode()).digest()
