# ruff: noqa: T201 - this one talks
"""Fuzz all targets, or those that are named: ``python -m tests.fuzz --seconds 60 --seed 7 cron lines``."""

import argparse
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec
from random import SystemRandom

from tests.fuzz.campaign import Outcome, fuzz
from tests.fuzz.corpus import keep
from tests.fuzz.targets import NAMES, load


def main() -> int:
    """Do what the command line asks for; the exit code tells whether nothing was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"any of {', '.join(NAMES)}; none: all")
    parser.add_argument("--seconds", type=int, default=60, help="for each target (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations; 0, the default: another one each time")
    parser.add_argument("--together", type=int, default=2, help="targets at a time (default %(default)s)")
    parser.add_argument("--keep", action="store_true", help="keep inputs that reached something new in the corpus")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(NAMES):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    if find_spec("atheris") is None:
        print("atheris is missing, so nothing is fuzzed: it has packages for Linux on x86-64 only")
        return 1 if os.environ.get("FLASHQ_REQUIRE_CHAOS") else 0
    seed = options.seed or SystemRandom().randrange(1, 2**31)
    print(f"fuzzing with --seed {seed}")
    names = options.targets or NAMES
    for name in names:
        load(name)  # here and not in the threads: modules that import each other must not be begun from two sides
    with ThreadPoolExecutor(options.together) as pool:
        outcomes = list(pool.map(partial(_fuzz, seconds=options.seconds, seed=seed), names))
    if options.keep:
        for outcome in outcomes:
            print(f"{outcome.name:<14} {keep(outcome.name, outcome.new)} inputs are kept")
    found = sum(outcome.finding != "" for outcome in outcomes)
    print(f"{len(outcomes)} targets, {sum(outcome.runs for outcome in outcomes):,} inputs, {found} findings")
    return 1 if found else 0


def _fuzz(name: str, seconds: int, seed: int) -> Outcome:
    outcome = fuzz(name, seconds, seed)
    print(outcome, flush=True)
    return outcome


if __name__ == "__main__":
    sys.exit(main())
