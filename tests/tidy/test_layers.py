"""Who may import whom. The architecture is a test, so that no reviewer has to defend it line by line."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Final

import pytest
from tests.tidy.source import SOURCE, breaches, imports, module_name, modules, own_imports, source_files

WORDS: Final = ("flashq.errors", "flashq.model", "flashq.reasons", "flashq.urls", "flashq.protocol.limits")
"""Level 0: the words that all share. They import nothing but each other."""

MAY_IMPORT: Final[dict[str, tuple[str, ...]]] = {
    "flashq.errors": (),
    "flashq.model": WORDS,
    "flashq.reasons": (),
    "flashq.urls": (),
    "flashq.config": WORDS,
    "flashq.logs": (),
    "flashq.protocol.limits": (),
    "flashq.protocol": ("flashq.protocol", *WORDS),
    "flashq.engine": ("flashq.engine", *WORDS),
    "flashq.storage": ("flashq.storage", "flashq.engine.records", "flashq.engine.trail", *WORDS),
    "flashq.security": ("flashq.security", "flashq.protocol", *WORDS),
    "flashq.observe": ("flashq.observe", "flashq.protocol", *WORDS),
    "flashq.commands": (
        "flashq.commands",
        "flashq.engine",
        "flashq.protocol",
        "flashq.security",
        "flashq.observe",
        *WORDS,
    ),
    "flashq.transports": (
        "flashq.transports",
        "flashq.commands",
        "flashq.observe",
        "flashq.protocol",
        "flashq.security",
        *WORDS,
    ),
    "flashq.webhooks": (
        "flashq.webhooks",
        "flashq.transports.base",
        "flashq.engine",
        "flashq.protocol",
        "flashq.security",
        *WORDS,
    ),
    "flashq.server": (
        "flashq",
        "flashq.logs",
        "flashq.server",
        "flashq.config",
        "flashq.transports",
        "flashq.webhooks",
        "flashq.commands",
        "flashq.observe",
        "flashq.security",
        "flashq.storage",
        "flashq.engine",
        "flashq.protocol",
        *WORDS,
    ),
    "flashq.client": ("flashq.client", "flashq.protocol", *WORDS),
    "flashq.tasks": ("flashq.tasks", "flashq.client", "flashq.protocol", *WORDS),
    "flashq.contrib.django.management": ("flashq.contrib.django", "flashq.cli", *WORDS),
    "flashq.contrib": ("flashq.contrib", "flashq.worker", "flashq.tasks", "flashq.client", "flashq", *WORDS),
    "flashq.worker": (
        "flashq.worker",
        "flashq.logs",
        "flashq.tasks",
        "flashq.client",
        "flashq.protocol",
        "flashq",
        *WORDS,
    ),
    "flashq.cli.settings": ("flashq.cli.reach", "flashq.config"),
    "flashq.cli.serve": ("flashq.cli", "flashq.server", "flashq.config", "flashq", *WORDS),
    "flashq.cli.doctor": ("flashq.cli", "flashq.server", "flashq.storage", "flashq.config", *WORDS),
    "flashq.cli.dump": ("flashq.cli", "flashq.server.clock", "flashq.storage", "flashq.config", "flashq", *WORDS),
    "flashq.cli.token": ("flashq.cli", "flashq.security", "flashq.server.clock", "flashq.config", *WORDS),
    "flashq.cli.worker": ("flashq.cli", "flashq.logs", "flashq.worker", "flashq", *WORDS),
    "flashq.cli.dev": ("flashq.cli", "flashq.worker", *WORDS),
    "flashq.cli": ("flashq.cli", "flashq.client", "flashq.protocol", "flashq", *WORDS),
    "flashq.__main__": ("flashq.cli",),
    "flashq.testing": (
        "flashq",
        "flashq.testing",
        "flashq.tasks",
        "flashq.client",
        "flashq.server",
        "flashq.config",
        "flashq.transports",
        "flashq.commands",
        "flashq.storage",
        "flashq.engine",
        "flashq.protocol",
        *WORDS,
    ),
    "flashq.pytest_plugin": ("flashq", "flashq.testing", "flashq.tasks"),
    "flashq": ("flashq.client", "flashq.tasks", *WORDS),
}
"""What each part of the package may import, the longest matching name deciding.

Read it upwards: the engine knows neither wire nor disk, storage knows only the engine's records, commands are the
only way into the engine, doors know only commands, the server puts all together. The client side is a tree of its own.
"""

OPTIONAL: Final = frozenset({"rich", "uvloop", "h11", "asyncpg"})
"""Dependencies that may be absent; only these may be imported inside a function."""

SWITCHED: Final = frozenset({"flashq.server.httpdoor.HttpDoor"})
"""Parts that are imported where they are switched on: a start without them need not load their libraries."""

LATE: Final = frozenset({"flashq.pytest_plugin"})
"""Modules that import where it is needed: pytest loads every plugin at each start, also where nobody uses it."""

STAGES: Final = ("dispatch", "intake", "settle", "control")
"""The engine's stages in their order: each may use those before it."""

WHOLE: Final = ("engine", "restore", "check")
"""The engine as a whole: sees all parts and stages, and no part or stage sees it."""


def _owner(module: str) -> str:
    """The entry of MAY_IMPORT that is responsible for a module."""
    name = module
    while name not in MAY_IMPORT or (name == "flashq" and module != "flashq"):
        assert name != "flashq", f"{module} belongs to no layer: give it a line in MAY_IMPORT, with a thought"
        name = name.rpartition(".")[0]
    return name


def _allowed(target: str, entries: tuple[str, ...]) -> bool:
    return any(target == entry or (entry != "flashq" and target.startswith(entry + ".")) for entry in entries)


def _beyond_its_layer(path: Path) -> list[str]:
    entries = MAY_IMPORT[_owner(module_name(path))]
    return [f"line {each.line}: {each.module}" for each in own_imports(path) if not _allowed(each.module, entries)]


def test_layers() -> None:
    """A module imports only what its layer may see: what cannot be seen cannot be depended upon by accident."""
    assert breaches(source_files(), _beyond_its_layer) == {}


def test_no_cycles() -> None:
    """No two modules need each other: such a pair can be neither understood nor tested apart."""
    known = modules()
    graph = {name: {each.module for each in own_imports(path)} - {name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def _hidden_imports(path: Path) -> list[str]:
    return [
        f"line {each.line}: {each.module} in {each.inside}"
        for each in imports(path)
        if each.inside
        and each.module.split(".")[0] not in OPTIONAL
        and each.module not in SWITCHED
        and module_name(path) not in LATE
    ]


def test_imports_stand_on_top() -> None:
    """An import inside a function hides a dependency and usually a cycle; optional packages and parts are excepted."""
    assert breaches(source_files(), _hidden_imports) == {}


def _above_it(path: Path) -> list[str]:
    if path.stem in ("__init__", *WHOLE):
        return []
    reach = STAGES.index(path.stem) if path.stem in STAGES else 0
    above = {f"flashq.engine.{name}" for name in (*STAGES[reach:], *WHOLE)} - {module_name(path)}
    return [f"line {each.line}: {each.module}" for each in own_imports(path) if each.module in above]


def test_parts_stages_whole() -> None:
    """Parts see no stage, a stage only those before it, nobody below sees the whole: so no part grows a story."""
    assert breaches((SOURCE / "engine").glob("*.py"), _above_it) == {}


def test_the_client_needs_only_msgspec() -> None:
    """A worker image holds the client and msgspec, nothing else: no other package outside the standard library."""
    foreign = {
        each.module.split(".")[0]
        for path in source_files()
        if _owner(module_name(path)) in ("flashq", "flashq.logs", "flashq.client", "flashq.protocol", *WORDS)
        for each in imports(path)
        if each.module.split(".")[0] in {"aiohttp", "apsw", "click", "cronsim", "rich", "tzdata", "uvloop", "yarl"}
    }
    assert foreign == set()


def test_the_search_finds_what_it_should(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The rules above would be worth nothing if the search missed a way of importing."""
    package = tmp_path / "flashq"
    (package / "engine").mkdir(parents=True)
    for name in ("__init__", "model", "engine/__init__", "engine/jobs"):
        (package / f"{name}.py").write_text("")
    sample = package / "engine" / "sample.py"
    sample.write_text(
        "import os\nimport flashq.model\nfrom flashq import model, missing\nfrom flashq.engine.jobs import Jobs\n"
        "from . import jobs\nfrom ..model import Job\n"
        "class C:\n    async def f(self):\n        if True:\n            import rich.table\n"
    )
    monkeypatch.setattr("tests.tidy.source.SOURCE", package)
    assert [each.module for each in own_imports(sample)] == [
        "flashq.model",
        "flashq.model",
        "flashq",
        "flashq.engine.jobs",
        "flashq.engine.jobs",
        "flashq.model",
    ]
    assert [(each.module, each.inside) for each in imports(sample) if each.inside] == [("rich.table", "f")]
