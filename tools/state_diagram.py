"""Draw the life of a job into docs/protocol.md, from the table that the engine obeys.

A drawing made by hand would be wrong after the next change; this one is made from `flashq.engine.lifecycle`, and
`--check` (run by the tests) fails when the document shows something else. Below the drawing stands the same as a
table, for readers without Mermaid.

Usage: python tools/state_diagram.py [--check]
"""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from flashq.engine.lifecycle import TRANSITIONS

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "protocol.md"
BEGIN: Final = "<!-- lifecycle:begin -->"
END: Final = "<!-- lifecycle:end -->"

OUTSIDE: Final = frozenset({"new", "gone"})
"""Not states but the two ends of a life; Mermaid draws both as dots."""

Transition = tuple[str, str, str]


def drawing(transitions: Iterable[Transition]) -> str:
    """The transitions as a Mermaid state diagram."""
    moves: dict[tuple[str, str], list[str]] = {}
    for before, event, after in transitions:
        moves.setdefault((before, after), []).append(event)
    arrows = [
        f"    {_node(before)} --> {_node(after)}: {'; '.join(events)}" for (before, after), events in moves.items()
    ]
    return "\n".join(["```mermaid", "stateDiagram-v2", *_aliases(moves), *arrows, "```"])


def table(transitions: Iterable[Transition]) -> str:
    """The transitions as a Markdown table, one line each."""
    lines = [f"| {before} | {event} | {after} |" for before, event, after in transitions]
    return "\n".join(["| state | what happens | state after it |", "|---|---|---|", *lines])


def with_drawing(document: str, transitions: tuple[Transition, ...]) -> str:
    """The document with everything between the two marks made anew.

    Raises:
        ValueError: the marks are missing, doubled or in the wrong order.
    """
    if document.count(BEGIN) != 1 or document.count(END) != 1 or document.index(BEGIN) > document.index(END):
        raise ValueError(f"these two lines must be there once each, in this order:\n{BEGIN}\n{END}")
    head, rest = document.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n\n{drawing(transitions)}\n\n{table(transitions)}\n\n{END}{tail}"


def _node(state: str) -> str:
    return "[*]" if state in OUTSIDE else state.replace("-", "_")


def _aliases(moves: Iterable[tuple[str, str]]) -> list[str]:
    """Names that Mermaid cannot take as they are."""
    hyphenated = dict.fromkeys(state for move in moves for state in move if "-" in state)
    return [f'    state "{state}" as {_node(state)}' for state in hyphenated]


def main(arguments: list[str]) -> int:
    """Write the drawing, or with ``--check`` only tell whether it is up to date. Returns the exit code."""
    if arguments not in ([], ["--check"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        old = DOCUMENT.read_text(encoding="utf-8")
        new = with_drawing(old, TRANSITIONS)
    except (OSError, ValueError) as error:
        print(f"{DOCUMENT.name}: {error}", file=sys.stderr)
        return 1
    if arguments and old != new:
        print(f"{DOCUMENT.name} is out of date: run python tools/state_diagram.py", file=sys.stderr)
        return 1
    if old != new:
        DOCUMENT.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
