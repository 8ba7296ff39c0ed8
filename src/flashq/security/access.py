"""The doorkeeper that all doors share: a token and where it came from go in, an identity or a refusal comes out."""

from collections.abc import Iterable

from flashq.security.identity import Identity
from flashq.security.tokens import Tokens


class Access:
    """Who may come in.

    Attributes:
        anonymous: who everybody is without showing a token; None when one has to be shown.
    """

    def __init__(self, tokens: Iterable[str] = ()) -> None:
        """Args: ``tokens``: those of administrators; none: everybody is one."""
        self._tokens = Tokens((token, Identity(f"auth-token-{place}")) for place, token in enumerate(tokens, 1))
        self.anonymous = None if self._tokens else Identity("anonymous")

    def identify(self, token: str, peer: str, now_ms: int) -> Identity:  # noqa: ARG002
        """Whose token this is.

        Args:
            token: what was shown.
            peer: the address it came from.
            now_ms: steady ms.

        Raises:
            Unauthorized: it is nobody's.
        """
        return self.anonymous or self._tokens.identify(token)
