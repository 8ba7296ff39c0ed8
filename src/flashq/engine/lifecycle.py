"""The life of a job, as a table.

Every move that a job can make stands here and nowhere else as data: the drawing in the documentation is made from
it, and the simulator refuses a move that is not in it. `flashq.engine.intake`, `dispatch`, `settle` and `control`
carry the moves out.

Two words are not states of the wire contract: ``new`` is before the push, ``gone`` after a job left without
completing. Both read as ``unknown`` from outside.
"""

from typing import Final

from flashq.model import ACTIVE, COMPLETED, DELAYED, FAILED, UNKNOWN, WAITING, WAITING_CHILDREN

TRANSITIONS: Final[tuple[tuple[str, str, str], ...]] = (
    ("new", "push", "waiting"),
    ("new", "push with delay", "delayed"),
    ("new", "push with open parents", "waiting-children"),
    ("new", "push with a lost parent, or too large inputs", "failed"),
    ("delayed", "time comes", "waiting"),
    ("waiting-children", "last parent completes", "waiting"),
    ("waiting-children", "last parent completes, delay not over", "delayed"),
    ("waiting-children", "a parent is lost", "failed"),
    ("waiting-children", "last parent completes, inputs too large", "failed"),
    ("waiting", "pull", "active"),
    ("waiting", "ack of an attempt from before a restart", "completed"),
    ("active", "ack", "completed"),
    ("active", "fail or timeout", "delayed"),
    ("active", "fail or timeout, no backoff", "waiting"),
    ("active", "fail or timeout, attempts used up", "failed"),
    ("active", "fail for good", "failed"),
    ("active", "handed back or released", "waiting"),
    ("active", "released for later", "delayed"),
    ("failed", "retry", "waiting"),
    ("waiting", "cancel or ttl", "gone"),
    ("delayed", "cancel or ttl", "gone"),
    ("waiting-children", "cancel or ttl", "gone"),
    ("active", "cancel, or fail or release after ttl", "gone"),
    ("failed", "purge", "gone"),
)
"""(state, what happens, state after it)."""

LIVE: Final = frozenset({WAITING, DELAYED, ACTIVE, FAILED, WAITING_CHILDREN})
"""States of a job that still holds its unique key."""

_STATES: Final = {
    "new": UNKNOWN,
    "gone": UNKNOWN,
    "waiting": WAITING,
    "delayed": DELAYED,
    "active": ACTIVE,
    "completed": COMPLETED,
    "failed": FAILED,
    "waiting-children": WAITING_CHILDREN,
}

MOVES: Final = frozenset((_STATES[before], _STATES[after]) for before, _, after in TRANSITIONS)
"""The same as numbers, for checking."""
