"""The commands of docs/reliability.md are those of tests that exist: the tests themselves run in `make ci`."""

import re
from typing import Final

from tests.tidy.source import ROOT

PAGE: Final = ROOT / "docs" / "reliability.md"
COMMAND: Final = re.compile(r"^((?:[A-Z_]+=\S+ )*)\.venv/bin/pytest (\S+)$", re.MULTILINE)


def commands() -> list[tuple[dict[str, str], str]]:
    """The variables and the file of each command of the page."""
    found = COMMAND.findall(PAGE.read_text(encoding="utf-8"))
    return [(dict(word.split("=") for word in words.split()), file) for words, file in found]


def test_every_command_runs_tests() -> None:
    """Each file that the page names has tests, whose settings are read by it."""
    named = commands()
    assert len(named) > 5
    for variables, file in named:
        source = (ROOT / file).read_text(encoding="utf-8")
        assert re.search(r"^(async )?def test_", source, re.MULTILINE), file
        assert all(f'"{name}", "{value}"' in source for name, value in variables.items()), (file, variables)
