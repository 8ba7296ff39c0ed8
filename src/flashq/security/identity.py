"""Who a client is, once it has shown a token: a name, a role, and perhaps only some of the queues.

An identity is what its token was worth when it was shown. When the token is withdrawn or its rights change, the old
identity is marked as revoked, and whoever still holds it has to be let go; it is never changed in place.
"""

from fnmatch import fnmatchcase
from typing import Final

from msgspec import Struct

ROLES: Final = ("viewer", "producer", "worker", "operator", "admin")
"""From the weakest to the strongest: each may do what those before it may."""

ADMIN: Final = ROLES[-1]


class Scope(Struct, frozen=True):
    """Some of the queues: ``queue in scope``.

    Attributes:
        patterns: as a shell has them, ``emails*``; a queue that one of them fits belongs to the scope.
    """

    patterns: tuple[str, ...]

    def __contains__(self, queue: object) -> bool:
        return any(fnmatchcase(str(queue), pattern) for pattern in self.patterns)


class Identity(Struct, eq=False):
    """One who may come in.

    Attributes:
        name: of the token; for people and logs.
        role: one of `ROLES`.
        allowed: the request types that the role may send; None = all.
        scope: the queues that it may touch; None = all.
        revoked: what it was given has been taken back.
    """

    name: str
    role: str = ADMIN
    allowed: frozenset[type] | None = None
    scope: Scope | None = None
    revoked: bool = False
