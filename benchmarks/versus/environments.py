"""A virtual environment for each of the others, in its latest release: what one of them pins, no other has to bear.

They stay in ``.bench/`` between runs; each run asks PyPI for newer releases, and takes what is there when it cannot.
"""

import subprocess
import sys
import venv
from pathlib import Path
from typing import Final

from benchmarks.versus.contestants import Contestant

ROOT: Final = Path(__file__).parents[2]
ENVIRONMENTS: Final = ROOT / ".bench"
INSTALL_SECONDS: Final = 180
"""One of them with all it needs takes some ten seconds; what takes this long does not come any more."""

_VERSION: Final = "import sys, importlib.metadata as m; print(m.version(sys.argv[1]))"


class Missing(Exception):
    """It is not there and could not be installed; the text says why."""


def binaries(contestant: Contestant) -> Path:
    """The folder of its programs."""
    return ENVIRONMENTS / contestant.key / "bin" if contestant.requirements else Path(sys.executable).parent


def install(contestant: Contestant) -> str:
    """Bring its environment up to date.

    Returns:
        Its version.

    Raises:
        Missing: it is not there and could not be installed.
    """
    python = binaries(contestant) / "python"
    said = ""
    if contestant.requirements:
        if not python.exists():
            venv.create(python.parents[1], with_pip=True)
        said = _pip(python, contestant.requirements)
    shown = subprocess.run([python, "-c", _VERSION, contestant.package], capture_output=True, text=True, check=False)
    if shown.returncode:
        raise Missing(said or shown.stderr.strip().rpartition("\n")[2])
    return shown.stdout.strip()


def _pip(python: Path, requirements: tuple[str, ...]) -> str:
    """Install or upgrade; what went wrong, if anything did."""
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--upgrade",
        *requirements,
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        return f"pip took longer than {INSTALL_SECONDS} s"
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else ""
