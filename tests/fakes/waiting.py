"""A call that waits at a door, for tests of what answers it."""

from typing import Any

from flashq.model import Instant


class Waiting:
    """A call that waits, and the connection it is of."""

    def __init__(self) -> None:
        self.answers: list[Any] = []

    def answer(self, delivered: Any, now: Instant) -> "Waiting":
        """Note it."""
        del now
        self.answers.append(delivered)
        return self

    def send(self) -> None:
        """There is nowhere to."""
