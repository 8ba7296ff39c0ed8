"""What code may not touch where: the clock, chance, the environment, and calls that turn data into code."""

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from tests.tidy.source import SOURCE, breaches, calls, dotted, imports, module_name, source_files, tree, uses

PURE: Final = (
    "flashq.model",
    "flashq.errors",
    "flashq.engine",
    "flashq.protocol",
    "flashq.storage.records",
    "flashq.storage.journal",
    "flashq.storage.fold",
    "flashq.client.pipeline",
    "flashq.client.encoding",
)
"""Modules whose results follow from their arguments alone, so that a run can be replayed from its inputs."""

IMPURE_IMPORTS: Final = frozenset(
    {
        *(
            "asyncio",
            "concurrent",
            "logging",
            "multiprocessing",
            "os",
            "pathlib",
            "queue",
            "random",
            "secrets",
            "select",
        ),
        *("selectors", "shutil", "signal", "socket", "ssl", "subprocess", "sys", "tempfile", "threading", "time"),
        *("uuid", "apsw", "sqlite3", "uvloop"),
    }
)

WALL_CLOCK: Final = frozenset(
    {
        *("time.time", "time.time_ns", "time.localtime", "time.gmtime", "time.ctime", "time.strftime"),
        *("datetime.now", "datetime.utcnow", "datetime.today", "date.today", "datetime.datetime.now"),
        *("datetime.datetime.utcnow", "datetime.datetime.today", "datetime.date.today", "time.clock_gettime"),
    }
)
STEADY_CLOCK: Final = frozenset(
    {
        *("time.monotonic", "time.monotonic_ns", "time.perf_counter", "time.perf_counter_ns"),
        *("time.process_time", "time.process_time_ns"),
    }
)

CLOCK: Final = "flashq.server.clock"

STEADY_CLOCK_TOO: Final[dict[str, str]] = {
    "flashq.client": "a caller's time limit is counted on the caller's side, where no server clock is",
    "flashq.worker.beat": "a thread has no event loop whose clock it could ask",
    "flashq.cli": "shows how long a command took",
}
"""Who else may read the steady clock, with the reason. Nobody else may read the wall clock."""

ENVIRONMENT: Final = frozenset({"os.environ", "os.environb", "os.getenv", "os.getenvb", "os.putenv", "os.unsetenv"})

ENVIRONMENT_READERS: Final = (
    "flashq.config",
    "flashq.client.address",
    "flashq.contrib.django.management.commands.flashq_worker",  # no setting: PYTHONPATH for the processes it starts
)

DATA_AS_CODE: Final = frozenset({"eval", "exec", "compile", "__import__", "os.system", "os.popen"})

DATA_AS_OBJECTS: Final = frozenset({"pickle", "marshal", "shelve"})

SPLITTERS: Final = frozenset({"urllib.parse.urlsplit", "urllib.parse.urlparse"})

INPUT_OUTPUT: Final = frozenset({"open", "input", "print"})


def _within(module: str, names: Iterable[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in names)


def _uses(path: Path, names: frozenset[str]) -> list[str]:
    """Where a file mentions one of these dotted names, or imports one of them directly."""
    mentioned = [f"line {line}: {name}" for name, line in uses(path) if name in names]
    return mentioned + [f"line {each.line}: {each.module}" for each in imports(path) if each.module in names]


def _calls(path: Path, names: frozenset[str]) -> list[str]:
    """Where a file calls one of these; a member of the same name is no call."""
    return [f"line {call.lineno}: {dotted(call.func)}" for call in calls(path) if dotted(call.func) in names]


def _imported(path: Path, packages: frozenset[str]) -> list[str]:
    """Where a file imports one of these packages, or something of them."""
    return [f"line {each.line}: {each.module}" for each in imports(path) if each.module.split(".")[0] in packages]


def _shells(path: Path) -> list[str]:
    """Where a file asks for a shell."""
    return [
        f"line {node.lineno}: shell="
        for node in ast.walk(tree(path))
        if isinstance(node, ast.keyword) and node.arg == "shell" and not _is_false(node.value)
    ]


def _is_false(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is False


def _files_but(*names: str) -> list[Path]:
    """Every file of the package, except these modules."""
    return [path for path in source_files() if module_name(path) not in names]


def _impure(path: Path) -> list[str]:
    return _imported(path, IMPURE_IMPORTS) + _uses(path, WALL_CLOCK) + _calls(path, INPUT_OUTPUT)


def test_pure_modules_import_nothing_impure() -> None:
    """The core has no clock, no chance, no I/O and no threads: the same calls give the same effects, byte for byte."""
    assert breaches([path for path in source_files() if _within(module_name(path), PURE)], _impure) == {}


def test_the_list_of_pure_modules_is_true() -> None:
    """A name in the list that matches no file protects nothing, so it must go or be corrected."""
    names = {module_name(path) for path in source_files()}
    assert [pure for pure in PURE if not any(_within(name, (pure,)) for name in names)] == []


def test_one_clock() -> None:
    """Only one module reads the time; all others are given it. So every test can set it, and a jump is seen once."""
    assert breaches(_files_but(CLOCK), lambda path: _uses(path, WALL_CLOCK)) == {}
    steady = [path for path in _files_but(CLOCK) if not _within(module_name(path), STEADY_CLOCK_TOO)]
    assert breaches(steady, lambda path: _uses(path, STEADY_CLOCK)) == {}


def test_the_clock_is_where_it_is_said_to_be() -> None:
    """The one reader of the clock exists; without it the rule above would hold for the wrong reason."""
    assert _uses(SOURCE / "server" / "clock.py", WALL_CLOCK) != []


def test_one_reader_of_the_environment() -> None:
    """Settings come in by one door a side (server, client): so they can be listed, documented and set by tests."""
    assert breaches(_files_but(*ENVIRONMENT_READERS), lambda path: _uses(path, ENVIRONMENT)) == {}


def _data_as_code(path: Path) -> list[str]:
    return _calls(path, DATA_AS_CODE) + _imported(path, DATA_AS_OBJECTS) + _shells(path)


def test_data_never_becomes_code() -> None:
    """No eval, pickle or shell: what a client sends is data, whatever it looks like."""
    assert breaches(source_files(), _data_as_code) == {}


def test_one_way_to_take_a_url_apart() -> None:
    """Python's own forgets what stands beside the brackets of a host, and so leads to another one."""
    assert breaches(_files_but("flashq.urls"), lambda path: _uses(path, SPLITTERS)) == {}


def test_the_search_finds_what_it_should(tmp_path: Path) -> None:
    """The rules above would be worth nothing if the search missed the ways in which such calls are written."""
    sample = tmp_path / "sample.py"
    sample.write_text(
        "import time, os\nfrom time import time_ns\nfrom os import environ\nimport datetime\n"
        "def f(open: int = 0):\n    x.open = time.time()\n    clock = time.monotonic\n"
        "    datetime.datetime.now(datetime.UTC)\n    eval('1', shell=True)\n"
        "    return os.environ['A'], not_os.environ\n"
    )
    assert len(_uses(sample, WALL_CLOCK)) == 3
    assert _uses(sample, STEADY_CLOCK) == ["line 7: time.monotonic"]
    assert _uses(sample, ENVIRONMENT) == ["line 10: os.environ", "line 3: os.environ"]
    assert _calls(sample, DATA_AS_CODE) == ["line 9: eval"]
    assert _calls(sample, INPUT_OUTPUT) == []
    assert _imported(sample, IMPURE_IMPORTS) == [
        f"line {n}: {name}" for n, name in ((1, "time"), (1, "os"), (2, "time.time_ns"), (3, "os.environ"))
    ]
    assert _shells(sample) == ["line 9: shell="]
    assert breaches([SOURCE / "server" / "clock.py"], lambda _: ["found"]) == {"src/flashq/server/clock.py": ["found"]}
