"""The unit tests repeat the tree of the source file by file, so that everybody knows where a test is, or belongs."""

from typing import Final

from tests.tidy.source import ROOT, SOURCE, name_of

PACKAGES: Final = (
    "engine",
    "protocol",
    "storage",
    "client",
    "commands",
    "testing",
    "tasks",
    "worker",
    "contrib",
    "webhooks",
)

WITHOUT_TEST: Final = {
    "contrib/django/apps.py": "names without behaviour; every test of contrib/django has it among the applications",
    "contrib/django/framework.py": "imports; test_backend.py uses what they give, and proves the error without them",
    "engine/records.py": "shapes without behaviour; tests/unit/storage/test_records.py encodes every one of them",
    "protocol/limits.py": "numbers; each is tested where it is enforced, and test_docs.py compares them with the docs",
    "protocol/replies.py": "shapes without behaviour; tests/unit/protocol/test_codec.py encodes them",
    "worker/executors.py": "a protocol without code; the tests of its three implementations prove it",
    "storage/base.py": "a protocol without code; tests/conformance proves every backend against it",
    "tasks/sender.py": "a protocol without code; an App is one",
    "client/sync_client.py": "generated from async_client.py; tests/conformance runs the same cases over both",
}
"""Source files that need no unit test of their own, with the reason."""

WITHOUT_SOURCE: Final[dict[str, str]] = {
    "worker/test_call_budget.py": "counts the calls of a job through roster, executor and tasks",
    "engine/test_call_budget.py": "counts the calls of a command through all of the engine",
}
"""Unit tests that answer for no single source file, with the reason."""


def _sources() -> set[str]:
    return {
        path.relative_to(SOURCE).as_posix()
        for package in PACKAGES
        for path in (SOURCE / package).rglob("*.py")
        if path.name != "__init__.py"
    }


def _mirrored() -> dict[str, str]:
    """Test file -> the source file it answers for."""
    unit = ROOT / "tests" / "unit"
    tests = [path.relative_to(unit) for package in PACKAGES for path in (unit / package).rglob("test_*.py")]
    return {path.as_posix(): path.with_name(path.name.removeprefix("test_")).as_posix() for path in tests}


def test_every_source_file_has_its_tests() -> None:
    """Code without a test file of its own is code whose tests nobody finds, if there are any."""
    assert sorted(_sources() - set(_mirrored().values()) - set(WITHOUT_TEST)) == []


def test_every_test_file_has_its_source() -> None:
    """A test file whose source is gone or renamed would go on testing something else under a wrong name."""
    orphans = {test for test, source in _mirrored().items() if source not in _sources()}
    assert sorted(orphans - set(WITHOUT_SOURCE)) == []


def test_exceptions_are_needed() -> None:
    """An exception that nothing needs any more is a hole that somebody will fall into."""
    assert sorted(set(WITHOUT_TEST) - (_sources() - set(_mirrored().values()))) == []
    assert sorted(set(WITHOUT_SOURCE) - set(_mirrored())) == []


def test_no_test_is_out_of_reach() -> None:
    """A file of tests that pytest does not collect by its name proves nothing."""
    strays = [
        name_of(path)
        for path in (ROOT / "tests").rglob("*.py")
        if not path.name.startswith("test_") and "\ndef test_" in path.read_text(encoding="utf-8")
    ]
    assert strays == []
