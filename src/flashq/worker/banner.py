"""What a worker says about itself when it starts: plain text, aligned, one fact a line."""

from collections.abc import Sequence

from flashq import __version__
from flashq.logs import escaped

WIDTH = 100
"""Columns of a line with a list; the next line goes on below its beginning."""


def banner(facts: Sequence[tuple[str, str | Sequence[str]]]) -> str:
    """The text, ended by an empty line.

    Args:
        facts: what each line is about, and what it says; a list is broken into lines.
    """
    column = max(len(name) for name, _ in facts) + 2
    lines = [f"flashq worker {__version__}", ""]
    for name, value in facts:
        words = [value] if isinstance(value, str) else [*value] or ["none"]
        for place, text in enumerate(_broken([escaped(word) for word in words], WIDTH - column)):
            lines.append(f"  {name if place == 0 else '':{column}}{text}")
    return "\n".join([*lines, "", ""])


def _broken(words: list[str], width: int) -> list[str]:
    """Words put together with commas, in lines of at most ``width`` where a single word is not longer."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + len(word) + 2 <= width:
            lines[-1] += f", {word}"
        else:
            lines.append(word)
    return lines
