"""``python -m benchmarks.versus``: install, compare in turns, print; under ten minutes.

What cannot be had or does not work is said in the table, and the others are compared all the same.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Final

from benchmarks.machine import Bystanders, describe
from benchmarks.report import Marks, Size, check_marks, write_into
from benchmarks.versus.brokers import find_redis
from benchmarks.versus.contestants import CONTESTANTS, Contestant
from benchmarks.versus.environments import Missing, install
from benchmarks.versus.rounds import ROUNDS, ROUNDS_SECONDS, another, idle, play, turns
from benchmarks.versus.table import Score, one_line, tables

MARKS: Final = Marks("<!-- versus: begin -->", "<!-- versus: end -->")
FULL: Final = Size(runs=ROUNDS)
QUICK: Final = Size(runs=1, share=0.1)
"""As published; for a first look."""


def prepare(contestants: Sequence[Contestant], redis: str | None) -> list[Score]:
    """Install everybody."""
    scores = [Score(contestant) for contestant in contestants]
    for score in scores:
        try:
            if score.contestant.requirements and redis is None:
                raise Missing("there is no redis-server, and it could not be installed")
            score.version = install(score.contestant)
            print(f"  {score.contestant.name}: {score.version}", flush=True)
        except Missing as why:
            _fail(score, why)
    return scores


def compare(scores: Sequence[Score], size: Size) -> int:
    """Let those that are there take turns; how many rounds there were."""
    began, done = monotonic(), 0
    while done < size.runs and another(done, monotonic() - began, ROUNDS_SECONDS):
        play_round([score for score in scores if not score.failure], done, size)
        done += 1
    return done


def rest(scores: Sequence[Score]) -> None:
    """Look at all workers without work."""
    try:
        for score, found in zip(scores, idle([score.contestant for score in scores]), strict=True):
            score.idle = found
    except RuntimeError as why:
        print(f"  looking at workers without work failed: {one_line(str(why), 2_000)}", flush=True)


def play_round(scores: Sequence[Score], number: int, size: Size) -> None:
    """One round of everybody; who fails is not asked again."""
    by_name = {score.contestant.name: score for score in scores}
    for contestant, promise in turns([score.contestant for score in scores], number):
        score = by_name[contestant.name]
        if score.failure:
            continue
        try:
            found = play(contestant, promise, size)
        except RuntimeError as why:
            _fail(score, why)
            continue
        score.rounds.setdefault(promise, []).append(found)
        print(
            f"  {contestant.name} [{promise}]: pushed {found.pushed:,.0f}/s, drained {found.drained:,.0f}/s, result "
            f"after {found.trip_ms:.2f} ms (99 %: {found.slow_trip_ms:.2f}), first job after {found.start:.2f} s",
            flush=True,
        )


def _fail(score: Score, why: Exception) -> None:
    score.failure = str(why)
    print(f"  {score.contestant.name} failed: {one_line(score.failure, 2_000)}", flush=True)


def main() -> None:
    """The command line."""
    keys = sorted({one.key for one in CONTESTANTS})
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versus")
    parser.add_argument("--quick", action="store_true", help="a tenth of the jobs, one round: for a first look")
    parser.add_argument("--only", metavar="NAMES", help=f"some of {','.join(keys)}, separated by commas")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables between the marks of this document")
    given = parser.parse_args()
    wanted = set(given.only.split(",")) if given.only else set(keys)
    if unknown := wanted - set(keys):
        parser.error(f"nobody is called {', '.join(sorted(unknown))}; there are {', '.join(keys)}")
    if given.write:
        check_marks(given.write, MARKS)  # now, and not after all the measuring
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))  # so that all that was started goes, too
    redis = find_redis()
    machine = f"{describe(pinned=False)}, Redis {redis or 'missing'}"
    print(f"Machine: {machine}", flush=True)
    scores = prepare([one for one in CONTESTANTS if one.key in wanted], redis)
    others = Bystanders()
    rounds = compare(scores, QUICK if given.quick else FULL)
    rest([score for score in scores if not score.failure])
    command = " ".join(["python", "-m", "benchmarks.versus", *sys.argv[1:]])
    head = f"Machine: {machine}. Other programs used {others.share():.0%} of its processor time.\n\n"
    count = "one round" if rounds == 1 else f"median of {rounds} rounds, beside it the smallest and the largest"
    text = f"{head}All of it: `{command}`; {count}.\n\n{tables(scores)}"
    print(text)
    if given.write:
        write_into(given.write, text, MARKS)


if __name__ == "__main__":
    main()
