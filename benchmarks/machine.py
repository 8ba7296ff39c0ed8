"""The machine under the figures: what it is, and which of its cores do what."""

import os
import platform
import re
import tempfile
from importlib.metadata import version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

CORES: Final = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
"""The cores that we may use; none where the system does not tell."""

PACE_RUNS: Final = 50
PACE_TURNS: Final = 200_000
"""A loop of Python that does nothing, so often that changes of pace within some tenths of a second show."""


def describe(*, pinned: bool = True) -> str:
    """Processor and pace, cores, interpreter, kernel, libraries, disk, in one line; figures without them mean nothing.

    Args:
        pinned: the load keeps off the server's core, where there is more than one.
    """
    cores = f"{len(CORES) or os.cpu_count()} cores"
    sharing = "server and load pinned to one each" if pinned and len(CORES) > 1 else "server and load share them"
    quick, slow = _pace_ms()
    libraries = ", ".join(f"{name} {version(name)}" for name in ("msgspec", "uvloop", "apsw"))
    return (
        f"{_processor()}, {cores} ({sharing}), {platform.python_implementation()} {platform.python_version()}, "
        f"a loop of {PACE_TURNS:,} turns takes {quick:.1f} to {slow:.1f} ms, "
        f"{platform.system()} {platform.release()}, {libraries}, data on {_file_system()} (a sync of 4 KiB takes "
        f"{_sync_ms():.2f} ms), load average at the start {os.getloadavg()[0]:.1f}"
    )


def pin_server(pid: int) -> None:
    """Give a server that has just been started the first core."""
    if len(CORES) > 1:
        os.sched_setaffinity(pid, {CORES[0]})


def pin_load() -> None:
    """Keep this process off the server's core."""
    if len(CORES) > 1:
        os.sched_setaffinity(0, {CORES[1]})


class Bystanders:
    """How much of the machine other programs use from now on. A figure taken beside them tells of them as well."""

    def __init__(self) -> None:
        self._all, self._busy = _machine_seconds()
        self._ours = _own_seconds()

    def share(self) -> float:
        """Part of all processor time since the start that neither we nor servers that have ended used, 0 to 1."""
        all_now, busy_now = _machine_seconds()
        others = busy_now - self._busy - (_own_seconds() - self._ours)
        return min(1.0, max(0.0, others) / max(1e-9, all_now - self._all))


def resident_bytes(pid: int) -> int:
    """Memory that a process holds in RAM."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    if found is None:
        raise RuntimeError(f"process {pid} has no resident memory")
    return int(found[1]) * 1024


def cpu_seconds(pid: int) -> float:
    """Processor time that a process has used, in user mode and in the kernel."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _machine_seconds() -> tuple[float, float]:
    """Processor time of all cores since the machine started: all of it, and what was not idle."""
    try:
        first = Path("/proc/stat").read_text(encoding="ascii").splitlines()[0]
    except OSError:
        return 0.0, 0.0
    ticks = [int(word) for word in first.split()[1:9]]
    second = os.sysconf("SC_CLK_TCK")
    return sum(ticks) / second, (sum(ticks) - ticks[3] - ticks[4]) / second


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _processor() -> str:
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _pace_ms() -> tuple[float, float]:
    """The shortest and the longest of some runs of the same work.

    On a host that is shared the pace of a core may halve within a tenth of a second, and every figure with it.
    """
    times = []
    for _ in range(PACE_RUNS):
        began = perf_counter()
        for _ in range(PACE_TURNS):
            pass
        times.append(1_000 * (perf_counter() - began))
    return min(times), max(times)


def _sync_ms() -> float:
    """What the durable figures rest on: median of some syncs of one page in the temporary folder."""
    times = []
    with tempfile.TemporaryFile(buffering=0) as file:
        for place in range(50):
            os.pwrite(file.fileno(), b"x" * 4096, place % 10 * 4096)
            began = perf_counter()
            os.fsync(file.fileno())
            times.append(1_000 * (perf_counter() - began))
    return median(times)


def _file_system() -> str:
    """The kind of file system below the temporary folder: on one in memory a sync costs nothing and proves nothing."""
    folder = Path(tempfile.gettempdir()).resolve()
    best, kind = "", "an unknown file system"
    try:
        mounts = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return kind
    for mount in mounts:
        _, point, found, *_ = mount.split()
        if folder.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind
