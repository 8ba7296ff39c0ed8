"""A wrong call of a task is a type error, for mypy and for pyright alike, and a right one is none."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

CALLS: Final = Path(__file__).with_name("calls.py")
ROOT: Final = Path(__file__).parents[2]
CHECKERS: Final = {
    "mypy": ["-m", "mypy", "--strict", "--hide-error-context", "--no-error-summary"],
    "pyright": ["-m", "basedpyright", "--level", "error"],
}


def wrong_lines() -> set[int]:
    """The lines that must be refused."""
    lines = CALLS.read_text().splitlines()
    return {number for number, line in enumerate(lines, 1) if line.endswith("# wrong")}


@pytest.mark.parametrize("checker", CHECKERS)
def test_wrong_calls_are_type_errors(checker: str) -> None:
    """Exactly the marked lines are refused: the signature reaches `delay`, and nothing else is in the way."""
    told = subprocess.run(
        [sys.executable, *CHECKERS[checker], str(CALLS)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    refused = {int(line) for line in re.findall(r"calls\.py:(\d+):(?:\d+ -)? error:", told.stdout)}
    assert refused == wrong_lines(), told.stdout + told.stderr
