"""One target for some seconds: prepares its folder, runs it in a process of its own, and reads what came of it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from tests.fuzz.corpus import begin_with
from tests.fuzz.seeds import ROOT
from tests.fuzz.targets import load

FOLDER: Final = ROOT / ".fuzz"
"""Where targets keep their inputs and logs from one run to the next; not part of the repository."""

LEAST_RUNS_A_SECOND: Final = 20
"""Fewer inputs than this, and something other than the reader was slow: it would find nothing, and say so."""

PATIENCE_S: Final = 120
"""For loading everything and reading the first inputs, beside the seconds of the fuzzing itself."""

_RUNS: Final = re.compile(r"stat::number_of_executed_units:\s*(\d+)")
_EDGES: Final = re.compile(r"\bcov: (\d+)")
_MOST_SHOWN: Final = 2_000


class Outcome(NamedTuple):
    """What came of fuzzing one target.

    Attributes:
        name: of the target.
        runs: inputs that were read.
        edges: places in the code, and ways to end, that were reached.
        new: inputs that reached something that no seed reaches.
        finding: what went wrong and with which input; empty if nothing did.
    """

    name: str
    runs: int
    edges: int
    new: list[bytes]
    finding: str

    def __str__(self) -> str:
        line = f"{self.name:<14} {self.runs:>10,} inputs {self.edges:>6,} reached {len(self.new):>6,} new inputs"
        return f"{line}\n{self.finding}" if self.finding else line


def fuzz(name: str, seconds: int, seed: int, folder: Path = FOLDER, path: str = "") -> Outcome:
    """Fuzz one target.

    Args:
        name: of the target.
        seconds: how long.
        seed: of the mutations.
        folder: where to work, in a folder of the target's name that is emptied before.
        path: where the product is imported from, instead of this repository.
    """
    place = folder / name
    _prepare(place, name)
    log = place / "log"
    command = [sys.executable, "-m", "tests.fuzz.child", name, str(place), str(seconds), str(seed)]
    environment = {**os.environ, "PYTHONHASHSEED": str(seed % 2**32), "PYTHONPATH": path}
    with log.open("wb") as file:
        try:
            code = subprocess.run(
                command, cwd=ROOT, env=environment, stdout=file, stderr=file, timeout=seconds + PATIENCE_S, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            code = -1
    told = log.read_text(errors="replace")
    runs = _last(_RUNS, told)
    new = [each.read_bytes() for each in sorted((place / "new").iterdir())]
    return Outcome(name, runs, _last(_EDGES, told), new, _finding(place, code, runs, seconds, told))


def _prepare(place: Path, name: str) -> None:
    shutil.rmtree(place, ignore_errors=True)
    for part in ("seeds", "new", "found"):
        (place / part).mkdir(parents=True)
    for number, data in enumerate(begin_with(name)):
        (place / "seeds" / f"{number:05}").write_bytes(data)
    (place / "words").write_text("".join(f"{_quoted(word)}\n" for word in load(name).WORDS), "ascii")


def _quoted(word: str | bytes) -> str:
    """A word as libFuzzer's dictionaries have it."""
    data = word.encode() if isinstance(word, str) else word
    return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'


def _last(pattern: re.Pattern[str], text: str) -> int:
    return int(([0, *pattern.findall(text)])[-1])


def _finding(place: Path, code: int, runs: int, seconds: int, told: str) -> str:
    inputs = sorted((place / "found").iterdir())
    if not (code or inputs):
        return "" if runs >= seconds * LEAST_RUNS_A_SECOND else f"only {runs} inputs were read; see {place / 'log'}"
    lines = [line for line in told.splitlines() if not line.startswith(("#", "INFO", "WARNING", "MS:", "0x"))]
    shown = [f"{each}: {each.read_bytes()[:_MOST_SHOWN]!r}" for each in inputs]
    return "\n".join((f"FOUND (exit code {code}), see {place / 'log'}", *lines[-40:], *shown))
