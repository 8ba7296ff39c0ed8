"""What a door needs from the runtime, and what the runtime needs from a door.

Written as protocols so that doors do not import the server: the runtime is handed to them, and a test can hand them
another one.
"""

from asyncio import BaseTransport
from collections.abc import Callable
from typing import Any, Final, Protocol

from flashq.errors import Overloaded, StorageError
from flashq.model import Instant, JobView

MAX_UNFINISHED_BYTES: Final = 128 * 1024 * 1024
"""Bytes of lines and bodies that have not come wholly, over all connections of all doors: ten thousand clients could
hold 160 GB between them."""

SMALL_UNFINISHED_BYTES: Final = 64 * 1024
"""Unfinished lines and bodies up to this are not refused for what others hold: most of them only came in two pieces."""

BREATH_BYTES: Final = 64 * 1024
"""A read of this size is likely one of many, and the loop would go on with a client as long as it keeps up: so it
pauses, and of all that pause one goes on in each turn of the loop. The others need not wait for more than that."""


class Patient(Protocol):
    """Whoever lets others go first."""

    def go_on(self) -> None:
        """It is its turn."""


class Gated(Protocol):
    """Whoever stands at the gate: holds something back until what it depends on is durable."""

    def release(self, durable: int) -> None:
        """Let go what depends on groups up to ``durable``."""

    def refuse(self, error: StorageError) -> None:
        """Answer everything that is still held with this error: nobody knows whether it will be confirmed."""


class Sender(Protocol):
    """Whoever has answers of calls that waited, and sends them once all of a turn are made."""

    def send(self) -> None:
        """Send what was answered, or hold it until what it depends on is durable."""


class Door(Gated, Patient, Protocol):
    """Where commands come in: it stops reading when it is asked to, and goes on when it may."""

    def hold_back(self) -> None:
        """Stop reading: the disk is far behind."""


class Waiting(Protocol):
    """A call that waits, as its door knows it; what the engine calls its token."""

    def answer(self, delivered: Any, now: Instant) -> Sender:  # noqa: ANN401 - what it is, its command knows
        """What it waited for; nothing when its time is over. Returns who sends the answer, once all are made."""


class Turns(Protocol):
    """The runtime, as doors see it.

    Attributes:
        clock: tells this moment.
        held_back: doors must not read.
    """

    clock: Callable[[], Instant]
    held_back: bool

    @property
    def durable(self) -> int:
        """The newest group that is safe."""

    def gather(self) -> int:
        """Journal what the commands caused. Returns the group on which an answer made now depends."""

    def hand_over(self, now: Instant) -> None:
        """Deliver and tell what the commands caused; called after their own answers were sent or held."""

    def wait(self, gated: Gated) -> None:
        """``gated`` holds something back."""

    def give_back(self, jobs: list[JobView], now: Instant) -> None:
        """These jobs stood in an answer that nobody can read: they go back, uncounted, as soon as that can be saved."""

    def after_others(self, patient: Patient) -> None:
        """``patient`` has stopped reading by itself: let it go on in its turn, when the others had theirs."""

    def attach(self, door: Door) -> None:
        """A connection is there."""

    def detach(self, door: Door) -> None:
        """A connection is gone."""

    def broken(self, error: BaseException) -> None:
        """A command failed in a way that no command may: memory is no longer to be trusted."""


def check_unfinished(held: int, together: int) -> None:
    """Refuse a line or body that has not come wholly: it is memory that nobody has used yet.

    Args:
        held: bytes of this one.
        together: bytes of all of them, over all connections.

    Raises:
        Overloaded: all hold too much, and this one more than a little.
    """
    if held > SMALL_UNFINISHED_BYTES and together > MAX_UNFINISHED_BYTES:
        raise Overloaded(
            f"Too many unfinished lines and bodies (max {MAX_UNFINISHED_BYTES} bytes over all connections)"
        )


def peer_of(transport: BaseTransport) -> str:
    """Where a connection comes from: an address without its port, or ``unix``."""
    name = transport.get_extra_info("peername")
    return str(name[0]) if isinstance(name, tuple) else "unix"
