"""One target under libFuzzer, in a process of its own: ``python -m tests.fuzz.child NAME FOLDER SECONDS SEED``.

The folder has the inputs to begin with in ``seeds`` and the words of inputs in ``words``; inputs that reached something
new are put into ``new``, and one that is a finding into ``found``. Ends with 0 when the time is over.
"""

import gc
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Final
from zlib import crc32

import atheris
from tests.fuzz.judge import Judge

SPARE_BYTES: Final = 1024 * 1024 * 1024
"""What the process may have beyond what it has at the start: an input that asks for gigabytes meets a MemoryError,
which is a finding, and not the end of the machine."""

WARM_UP: Final = 0.2
"""Part of the time after which memory may no longer grow: then the seeds have been read and the caches are full."""

ENDINGS: Final = 4_096
"""Counters for ways in which readings end; two ways that share one hide each other, which is rare and no harm."""

HANG_S: Final = 10
"""Wall seconds after which libFuzzer ends a reading that does not come back, to tell which it was."""


def _plainly_s(name: str, data: bytes) -> float:
    """The time that an input takes where nothing counts steps, which makes Python several times as slow."""
    command = [sys.executable, "-m", "tests.fuzz.plainly", name]
    return float(subprocess.run(command, input=data, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    """Fuzz until the time is over or something is found; does not return."""
    name, folder, seconds, seed = sys.argv[1:]
    with atheris.instrument_imports(include=["flashq", "cronsim"]):
        from tests.fuzz.targets import load

        target = load(name)
    judge = Judge(target.read, warm_up_s=float(seconds) * WARM_UP, again_s=partial(_plainly_s, name))
    counters = [atheris._reserve_counter() for _ in range(ENDINGS)]

    def one(data: bytes) -> None:
        atheris._trace_branch(counters[crc32(judge.read(data).encode()) % ENDINGS])

    place = Path(folder)
    atheris.Setup(
        [
            name,
            f"-max_total_time={seconds}",
            f"-seed={seed}",
            f"-max_len={target.MAX_BYTES}",
            f"-timeout={HANG_S}",
            f"-dict={place / 'words'}",
            f"-artifact_prefix={place / 'found'}/",
            "-rss_limit_mb=0",
            "-print_final_stats=1",
            str(place / "new"),
            str(place / "seeds"),
        ],
        one,
    )
    gc.freeze()  # what is loaded now stays; the collector need not look at it in the middle of an input
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + SPARE_BYTES, used + SPARE_BYTES))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
