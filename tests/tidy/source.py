"""The source tree as syntax trees, for the rules beside this file. Nothing of it is imported or run."""

import ast
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent.parent
SOURCE: Final = ROOT / "src" / "flashq"


class Import(NamedTuple):
    """One imported module. ``inside`` names the function in which the import stands, or is empty."""

    module: str
    line: int
    inside: str


def breaches(files: Iterable[Path], rule: Callable[[Path], list[str]]) -> dict[str, list[str]]:
    """What a rule finds, by file: nothing, when all keep it.

    One test asks all files. A test for each would be thousands, which take longer to run than the rules themselves.
    """
    return {name_of(path): found for path in files if (found := rule(path))}


def name_of(path: Path) -> str:
    """A file's place in the repository."""
    return path.relative_to(ROOT).as_posix()


def module_name(path: Path) -> str:
    """The dotted name of a file below src."""
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def source_files() -> list[Path]:
    """Every Python file of the package."""
    return sorted(SOURCE.rglob("*.py"))


@cache
def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name."""
    return {module_name(path): path for path in source_files()}


@cache
def tree(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@cache
def uses(path: Path) -> list[tuple[str, int]]:
    """Every dotted name whose value a file asks for, with its line."""
    return [
        (dotted(node), node.lineno)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load)
    ]


@cache
def calls(path: Path) -> list[ast.Call]:
    """Every call in a file."""
    return [node for node in ast.walk(tree(path)) if isinstance(node, ast.Call)]


@cache
def imports(path: Path) -> list[Import]:
    """Every import of a file, those for type checkers and those inside functions included."""
    return list(_imports(tree(path), path, ""))


def own_imports(path: Path) -> list[Import]:
    """Imports of our own modules; ``from package import module`` counts as the module."""
    known = modules()
    found = []
    for each in imports(path):
        if each.module == "flashq" or each.module.startswith("flashq."):
            name = each.module
            while name not in known:  # a name inside a module
                name = name.rpartition(".")[0]
            found.append(each._replace(module=name))
    return found


def _imports(node: ast.AST, path: Path, inside: str) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, inside) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = _absolute(child, path)
            yield from (Import(f"{base}.{alias.name}", child.lineno, inside) for alias in child.names)
        else:
            function = child.name if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) else inside
            yield from _imports(child, path, function)


def _absolute(node: ast.ImportFrom, path: Path) -> str:
    if node.level == 0:
        assert node.module is not None
        return node.module
    package = module_name(path).split(".")
    kept = package[: len(package) - node.level + (path.name == "__init__.py")]
    return ".".join([*kept, *filter(None, [node.module])])


def dotted(node: ast.expr) -> str:
    """``a.b.c`` for such an expression, otherwise nothing."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return ""
