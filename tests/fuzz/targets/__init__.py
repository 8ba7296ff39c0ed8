"""One module a reader, all of the same shape.

``read(data)`` reads an input and says how that ended; whatever it raises is a finding. ``seeds()`` are inputs to begin
with, ``WORDS`` what inputs are made of, ``MAX_BYTES`` how long they may become.
"""

from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Final, Protocol, cast


class Target(Protocol):
    """What each module here has."""

    read: Callable[[bytes], str]
    seeds: Callable[[], Iterable[bytes]]
    WORDS: tuple[str | bytes, ...]
    MAX_BYTES: int


NAMES: Final = tuple(sorted(path.stem for path in Path(__file__).parent.glob("[!_]*.py")))
"""All targets."""


def load(name: str) -> Target:
    """One target; what it reads with is imported now and not before."""
    return cast("Target", import_module(f"{__name__}.{name}"))
