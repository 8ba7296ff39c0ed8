"""From ``module:attribute`` to an app, and a clear word where there is none."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashq.worker.target import BadTarget, load

APP = "import flashq.tasks\nclass inner:\n    app = flashq.tasks.App('flashq://127.0.0.1:1')\napp = other = inner.app\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of a user's program, and the search path as it was."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize("target", ["shopapp:app", "shopapp:other", "shopapp:inner.app", "shopapp"])
def test_found(target: str, folder: Path) -> None:
    """An app in the current folder is found by any of its names, and as `app` without one."""
    (folder / "shopapp.py").write_text(APP)
    assert load(target).tasks == {}


@pytest.mark.parametrize(
    ("source", "target", "sentence"),
    [
        (None, "nowhere_at_all:app", "there is no module 'nowhere_at_all'"),
        (None, "nowhere_at_all.tasks:app", "there is no module 'nowhere_at_all'"),
        (None, "shop/tasks.py:app", "is not the name of a module"),
        (None, "", "is not the name of a module"),
        (APP, "shopapp:missing", "module 'shopapp' has no app called 'missing'"),
        (APP, "shopapp:inner", "'shopapp:inner' is not a flashq.App but of type 'type'"),
        ("import no_such_thing_here", "shopapp", "cannot be imported: No module named 'no_such_thing_here'"),
        ("1 / 0", "shopapp", "cannot be imported: ZeroDivisionError: division by zero"),
        ("import sys; sys.exit(3)", "shopapp", "cannot be imported: SystemExit: 3"),
        ("def f(:", "shopapp", "cannot be imported: SyntaxError: "),
    ],
)
def test_not_found(source: str | None, target: str, sentence: str, folder: Path) -> None:
    """The sentence says what is missing, and tells a missing app from a fault in the user's own code."""
    if source is not None:
        (folder / "shopapp.py").write_text(source)
    with pytest.raises(BadTarget) as caught:
        load(target)
    assert sentence in str(caught.value)
    assert (caught.value.__cause__ is not None) == ("cannot be imported" in sentence)
