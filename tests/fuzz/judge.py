"""Whether one input was dealt with as it should be: in little time, and without keeping memory."""

import gc
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

MAX_INPUT_S: Final = 0.05
"""Processor time for one input of at most 64 KiB: a server that is busy for longer keeps everybody else waiting."""

MAX_GROWTH_BYTES: Final = 32 * 1024 * 1024
"""How much the process may grow once it is warm. What libFuzzer keeps is a few megabytes; a reader that kept a hundred
bytes of each input would be past this within seconds."""

LOOK_EVERY_S: Final = 0.5
"""Wall seconds between two looks at the memory."""

TRIES: Final = 5
"""How often a slow input is read again, and the least time believed: the machine may have been slow, not the reader."""

MORE: Final = 1.2
"""How much slower than one that was cleared the next suspect has to be: trying again takes long."""

Reader = Callable[[bytes], str]
"""Reads an input and says in a few words how that ended; raises only for what is wrong."""


class TooSlow(AssertionError):
    """An input took too much processor time."""


class Grown(AssertionError):
    """The process holds more and more memory."""


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def least_s(read: Reader, data: bytes, spent_s: Callable[[], float] = time.thread_time) -> float:
    """The least processor time of some readings of an input."""
    took = []
    for _ in range(TRIES):
        begin = spent_s()
        read(data)
        took.append(spent_s() - begin)
    return min(took)


class Judge:
    """Calls a reader and looks at what that cost."""

    def __init__(
        self,
        read: Reader,
        warm_up_s: float,
        spent_s: Callable[[], float] = time.thread_time,
        held_bytes: Callable[[], int] = resident_bytes,
        now_s: Callable[[], float] = time.monotonic,
        again_s: Callable[[bytes], float] | None = None,
    ) -> None:
        """Judge nothing yet.

        Args:
            read: the reader.
            warm_up_s: wall seconds from now, after which the memory may no longer grow.
            spent_s: tells the processor time that was spent.
            held_bytes: tells the memory that is in use.
            now_s: tells the wall time.
            again_s: tells the processor time of an input that looked slow, by a second opinion; None: `least_s`.
        """
        self._read = read
        self._spent_s = spent_s
        self._held_bytes = held_bytes
        self._now_s = now_s
        self._look_at_s = now_s() + warm_up_s
        self._warm_bytes = 0
        self._again_s = again_s or (lambda data: least_s(read, data, spent_s))
        self._suspect_s = MAX_INPUT_S

    def read(self, data: bytes) -> str:
        """Have it read, and say how that ended.

        Raises:
            TooSlow: time and again it took longer than `MAX_INPUT_S`.
            Grown: memory has grown by more than `MAX_GROWTH_BYTES` since the warm-up.
            Exception: the reader's, which it may not raise.
        """
        begin = self._spent_s()
        ending = self._read(data)
        took = self._spent_s() - begin
        if took > self._suspect_s:
            self._try_again(data, took)
        now = self._now_s()
        if now >= self._look_at_s:
            self._look_at_s = now + LOOK_EVERY_S
            self._look_at_memory()
        return ending

    def _try_again(self, data: bytes, took: float) -> None:
        least = self._again_s(data)
        if least > MAX_INPUT_S:
            raise TooSlow(f"{len(data)} bytes took {least * 1000:.0f} ms at the least, {MAX_INPUT_S * 1000:.0f} may be")
        self._suspect_s = took * MORE

    def _look_at_memory(self) -> None:
        held = self._held_bytes()
        if not self._warm_bytes:
            self._warm_bytes = held
        elif held - self._warm_bytes > MAX_GROWTH_BYTES:
            gc.collect()  # what only waits for the collector is not kept
            held = self._held_bytes()
            if held - self._warm_bytes > MAX_GROWTH_BYTES:
                raise Grown(f"{self._warm_bytes} bytes when warm, {held} now")
