# ruff: noqa: T201 - its answer is what it prints
"""Read one input without a fuzzer, and print the processor seconds: ``python -m tests.fuzz.plainly NAME < INPUT``."""

import sys

from tests.fuzz.judge import least_s
from tests.fuzz.targets import load

if __name__ == "__main__":
    print(least_s(load(sys.argv[1]).read, sys.stdin.buffer.read()))
