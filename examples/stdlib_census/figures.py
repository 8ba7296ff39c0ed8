"""What is counted, and how counts are put together. Knows nothing of queues.

A file, a hundred files and the whole library are described by the same `Figures`, so that putting together is one
function, whatever is put together.
"""

import ast
import heapq
import time
from pathlib import Path

from msgspec import Struct, field

WORST = 15
SLOWEST = 5

BRANCHES = (ast.If, ast.IfExp, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.match_case)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


class Function(Struct, order=True):
    """One function. Ordered by complexity, then by length."""

    complexity: int
    lines: int
    name: str
    file: str
    line: int


class Timing(Struct, order=True):
    """How long one file took to measure."""

    ms: int
    file: str


class Figures(Struct):
    """The census of some files.

    Attributes:
        files: how many.
        broken: those that are not Python of this version, with the reason.
        lines: in all files.
        functions: how many, methods included.
        complexity: cyclomatic complexity of all functions together.
        worst: the most complex functions, the worst first.
        longest: the longest functions, the longest first.
        slowest: the files that took longest to measure.
    """

    files: int = 0
    broken: list[str] = field(default_factory=list)
    lines: int = 0
    functions: int = 0
    complexity: int = 0
    worst: list[Function] = field(default_factory=list)
    longest: list[Function] = field(default_factory=list)
    slowest: list[Timing] = field(default_factory=list)


def measure(path: Path, root: Path) -> Figures:
    """Count one file.

    Args:
        path: the file.
        root: what its name in the report is relative to.

    Raises:
        OSError: the file cannot be read.
    """
    began = time.perf_counter()
    name = str(path.relative_to(root)) if path.is_relative_to(root) else path.name
    source = path.read_bytes()
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        # Not a failure: to read it again would change nothing. That a file is broken is a finding.
        return Figures(files=1, broken=[f"{name}: {error}"], lines=source.count(b"\n"))
    functions = find_functions(tree, name)
    return Figures(
        files=1,
        lines=source.count(b"\n"),
        functions=len(functions),
        complexity=sum(function.complexity for function in functions),
        worst=heapq.nlargest(WORST, functions),
        longest=heapq.nlargest(WORST, functions, key=lambda function: function.lines),
        slowest=[Timing(round((time.perf_counter() - began) * 1000), name)],
    )


def merge(parts: list[Figures]) -> Figures:
    """The figures of all parts together."""
    return Figures(
        files=sum(part.files for part in parts),
        broken=[one for part in parts for one in part.broken],
        lines=sum(part.lines for part in parts),
        functions=sum(part.functions for part in parts),
        complexity=sum(part.complexity for part in parts),
        worst=heapq.nlargest(WORST, (one for part in parts for one in part.worst)),
        longest=heapq.nlargest(
            WORST, (one for part in parts for one in part.longest), key=lambda function: function.lines
        ),
        slowest=heapq.nlargest(SLOWEST, (one for part in parts for one in part.slowest)),
    )


def report(figures: Figures, version: str) -> list[str]:
    """The figures as lines for people.

    Args:
        figures: of everything.
        version: of the language that files had to be in.
    """
    average = figures.complexity / max(1, figures.functions)
    worst = [f"  {one.complexity:4}  {one.lines:5} lines  {one.name}  ({one.file}:{one.line})" for one in figures.worst]
    longest = [f"{one.name}, {one.lines:,} lines ({one.file}:{one.line})" for one in figures.longest[:1]]
    return [
        f"{figures.files:,} files, {figures.lines:,} lines, {figures.functions:,} functions",
        f"cyclomatic complexity: {average:.1f} on average; the most complex functions:",
        *worst,
        *(f"longest function: {text}" for text in longest),
        f"slowest files: {', '.join(f'{one.file} {one.ms} ms' for one in figures.slowest)}",
        f"{len(figures.broken)} files are not Python {version}:",
        *(f"  {text[:100]}" for text in figures.broken),
    ]


def find_functions(tree: ast.Module, file: str) -> list[Function]:
    """Every function of a file with its cyclomatic complexity; one inside another counts for itself."""
    found: list[Function] = []
    # What is still to be visited: a node, the dotted name of what it is in, and the function it belongs to. A stack
    # instead of recursion, because machine-written modules nest deeper than Python's own stack reaches.
    stack: list[tuple[ast.AST, str, Function | None]] = [(tree, "", None)]
    while stack:
        node, inside, owner = stack.pop()
        if isinstance(node, (*FUNCTIONS, ast.ClassDef)):
            inside = f"{inside}.{node.name}" if inside else node.name
        if isinstance(node, FUNCTIONS):
            owner = Function(1, (node.end_lineno or node.lineno) - node.lineno + 1, inside, file, node.lineno)
            found.append(owner)
        elif owner is not None:
            owner.complexity += branches(node)
        stack += [(child, inside, owner) for child in ast.iter_child_nodes(node)]
    return found


def branches(node: ast.AST) -> int:
    """How many ways a piece of syntax adds to those through its function."""
    if isinstance(node, ast.BoolOp):
        return len(node.values) - 1
    if isinstance(node, ast.comprehension):
        return 1 + len(node.ifs)
    return isinstance(node, BRANCHES)
