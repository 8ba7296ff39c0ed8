"""Inputs to begin with: what the tests and the documentation contain."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]


def literals(*paths: str) -> Iterator[bytes]:
    """Every string and every bytes literal of some Python files, named from the root of the repository."""
    for path in paths:
        for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str | bytes):
                yield node.value if isinstance(node.value, bytes) else node.value.encode("utf-8", "surrogatepass")


def documented_json() -> Iterator[bytes]:
    """Every JSON object that stands in a line of its own in the documentation, sent or answered."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        for line in page.read_text(encoding="utf-8").splitlines():
            text = line.lstrip("→← $")
            if text.startswith("{"):
                yield text.encode()


def documented_words(*needles: str) -> Iterator[bytes]:
    """Every word of the documentation with one of these in it, without the marks around it."""
    for page in sorted((ROOT / "docs").glob("*.md")):
        for word in page.read_text(encoding="utf-8").split():
            if any(needle in word for needle in needles):
                yield word.strip("`'\"()[]<>,;.|").encode()
