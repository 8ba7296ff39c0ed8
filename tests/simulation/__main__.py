# ruff: noqa: T201 - this one talks
"""Live through one seed again, or through many: ``python -m tests.simulation --seed 7 -v``."""

import argparse
import sys
from itertools import count
from time import perf_counter

from tests.simulation.campaign import STEPS, Failed, campaign, campaigns, live


def main() -> int:
    """Run what the command line asks for; the exit code tells whether all went well."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the seed, or the first of many (default 1)")
    parser.add_argument("--steps", type=int, default=STEPS, help="operations a seed (default %(default)s)")
    parser.add_argument("--operations", type=int, default=0, help="go on with further seeds until so many are done")
    parser.add_argument("--processes", type=int, default=1, help="how many seeds at a time, with --operations")
    parser.add_argument("-v", "--verbose", action="store_true", help="tell everything that happens")
    options = parser.parse_args()
    start = perf_counter()
    try:
        if not options.operations:
            total, digest = live(options.seed, options.steps, say=print if options.verbose else None)
            print(f"digest {digest}")
        elif options.processes > 1:
            total = campaigns(options.seed, options.operations, options.processes)
        else:
            total = campaign(count(options.seed), options.operations, options.steps)
    except Failed as failed:
        print(failed, file=sys.stderr)
        return 1
    seconds = perf_counter() - start
    print(total.table())
    rate = total.operations / seconds
    print(
        f"{total.operations:,} operations and {total.recoveries:,} recoveries in {seconds:.1f} s ({rate:,.0f} a second)"
    )
    print(f"never: {', '.join(total.missing()) or 'nothing'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
