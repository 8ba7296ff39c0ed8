"""The doorkeeper that all doors share: a token and where it came from go in, an identity or a refusal comes out.

Tokens come from two places: a list of administrators' tokens that is fixed for the life of the process, and the rows of
the token file, which may change at any time. A change makes new identities for what has changed and revokes the old
ones; what is the same stays the same object, so that doors find out by one look at the identity they hold.

What happens here is logged with the name and the address, and never with a token. Each kind of line is bounded: a
client can write as much as it likes, but not into the log.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from flashq.errors import Overloaded, Unauthorized
from flashq.security.identity import ADMIN, Identity, Scope
from flashq.security.throttle import Throttle
from flashq.security.tokenfile import TokenRow
from flashq.security.tokens import Tokens, digest

log = logging.getLogger("flashq.security")

Rights = Mapping[str, frozenset[type] | None]
"""Role -> the request types that it may send; None = all."""

QUIET_MS: Final = 60_000
"""The same denial, of the same one from the same address, is logged once in this time."""

MAX_DENIALS: Final = 1_000
"""Denials that are remembered for that; beyond it the oldest is forgotten, and would be logged again."""


class Access:
    """Who may come in.

    Attributes:
        anonymous: who everybody is without showing a token; None when one has to be shown.
    """

    def __init__(self, tokens: Sequence[str] = (), rights: Rights | None = None) -> None:
        """Build it without rows of a file.

        Args:
            tokens: those of administrators; none: everybody is one, until there is a token file.
            rights: what each role may do; None: everything.
        """
        self._rights = rights or {}
        self._fixed = [(digest(token), Identity(f"auth-token-{place}")) for place, token in enumerate(tokens, 1)]
        self._rows: dict[TokenRow, Identity] = {}
        self._tokens = Tokens(self._fixed)
        self._throttle = Throttle()
        self._denials: dict[tuple[str, str, str], int] = {}
        self.anonymous = None if tokens else Identity("anonymous")

    def identify(self, token: str, peer: str, now_ms: int) -> Identity:
        """Whose token this is.

        Args:
            token: what was shown.
            peer: the address it came from.
            now_ms: steady ms.

        Raises:
            Unauthorized: it is nobody's.
            Overloaded: this address was wrong too often, and has to wait.
        """
        if self.anonymous is not None:
            return self.anonymous
        identity = self._tokens.find(token)
        if identity is not None and self._throttle.is_welcome(peer, identity.name):
            return identity
        try:
            self._throttle.check(peer, now_ms)
        except Overloaded:
            self._denied("throttled", peer, "AUTH", now_ms)
            raise
        if identity is None:
            self._throttle.failed(peer, now_ms)
            log.warning("auth failed: wrong token", extra=_words(peer=peer))
            raise Unauthorized("Invalid token")
        self._throttle.welcome(peer, identity.name)
        log.info("auth ok", extra=_words(name=identity.name, role=identity.role, peer=peer))
        return identity

    def denied(self, identity: Identity | None, peer: str, what: str, now_ms: int) -> None:
        """Somebody was refused what their role or their queues do not allow; logged, the same once a minute.

        Args:
            identity: who; None before a token was shown.
            peer: where from.
            what: the command's name.
            now_ms: steady ms.
        """
        self._denied(identity.name if identity else "nobody", peer, what, now_ms)

    def replace(self, rows: Iterable[TokenRow]) -> None:
        """From now on these are the rows of the token file; from the first time on a token has to be shown."""
        before = self._rows
        self._rows = {row: before.get(row) or self._identity(row) for row in rows}
        self._tokens = Tokens([*self._fixed, *((bytes.fromhex(row.sha256), who) for row, who in self._rows.items())])
        if self.anonymous is not None:
            self.anonymous.revoked = True
            self.anonymous = None
        for row in before.keys() - self._rows.keys():
            before[row].revoked = True
            log.warning("token revoked or changed", extra=_words(name=row.name))

    def _identity(self, row: TokenRow) -> Identity:
        allowed = None if row.role == ADMIN else self._rights[row.role]
        return Identity(row.name, row.role, allowed, Scope(row.queues) if row.queues is not None else None)

    def _denied(self, name: str, peer: str, what: str, now_ms: int) -> None:
        key = (name, peer, what)
        denials = self._denials
        last = denials.pop(key, None)
        if last is None or now_ms - last >= QUIET_MS:
            last = now_ms
            log.warning("denied", extra=_words(name=name, peer=peer, command=what))
        if len(denials) >= MAX_DENIALS:
            del denials[next(iter(denials))]
        denials[key] = last


def _words(**words: str) -> dict[str, dict[str, str]]:
    return {"flashq": words}
