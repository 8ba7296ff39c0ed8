"""The inputs that are kept: few and small, because they stay in the repository for ever.

One file a target, one input a line, written as Python writes bytes. Of what a run has found, those are kept that reach
lines or endings which neither the seeds nor the inputs kept so far reach.
"""

import ast
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType
from typing import Any, Final

from tests.fuzz.seeds import ROOT
from tests.fuzz.targets import Target, load

FOLDER: Final = Path(__file__).with_name("corpus")
MAX_KEPT: Final = 100
"""Inputs of one target."""
MAX_KEPT_BYTES: Final = 400
"""One input: what a larger one reaches, a smaller one mostly reaches as well, later in a run."""

_SOURCE: Final = str(ROOT / "src")


def kept(name: str) -> list[bytes]:
    """The inputs kept for a target."""
    path = FOLDER / f"{name}.txt"
    return [ast.literal_eval(line) for line in path.read_text("ascii").splitlines()] if path.exists() else []


def begin_with(name: str) -> list[bytes]:
    """Seeds and kept inputs of a target, each once and none too long."""
    target = load(name)
    return [data for data in dict.fromkeys((*target.seeds(), *kept(name))) if len(data) <= target.MAX_BYTES]


def keep(name: str, found: Iterable[bytes]) -> int:
    """Keep what is worth it of the inputs that a run has found; says how many there are now.

    Not to be called where the package was imported for fuzzing: it looks at the lines that are reached.
    """
    target = load(name)
    reached = set().union(*(reach(target, data) for data in target.seeds()))
    chosen: list[bytes] = []
    for data in sorted({*found, *kept(name)}, key=lambda data: (len(data), data)):
        if len(data) <= MAX_KEPT_BYTES and len(chosen) < MAX_KEPT and not (new := reach(target, data)) <= reached:
            reached |= new
            chosen.append(data)
    (FOLDER / f"{name}.txt").write_text("".join(f"{data!r}\n" for data in chosen), "ascii")
    return len(chosen)


def reach(target: Target, data: bytes) -> set[object]:
    """What an input reaches: steps from line to line of the product, and how it ends."""
    steps: set[object] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_SOURCE):
            return None
        last = 0

        def lines(frame: FrameType, event: str, _: Any) -> Any:
            nonlocal last
            if event == "line":
                steps.add((frame.f_code, last, frame.f_lineno))
                last = frame.f_lineno
            return lines

        return lines

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        steps.add(target.read(data))
    finally:
        sys.settrace(before)
    return steps
