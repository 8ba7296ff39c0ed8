"""Many seeds in a row: the sum of what happened, and for a failure the one line that replays it."""

import gc
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from msgspec import json
from tests.simulation.workload import Workload
from tests.simulation.world import fingerprint, watched_moves

from flashq.engine.lifecycle import MOVES
from flashq.model import COMPLETED, WAITING
from flashq.protocol import requests as r
from flashq.protocol.requests import REQUEST_TYPES

STEPS: Final = 2_500
"""Operations of one seed: enough for a dozen restarts, few enough for a failure to be read."""

_SWEEP: Final = 8
"""Seeds after which garbage is collected; in between the collector would only slow things down."""

_NOT_SIMULATED: Final = frozenset(
    {
        r.Auth,
        r.Settings,
        r.Nodes,
        r.Shutdown,
        r.Restart,
        r.Backup,
        r.Webhook,
        r.WebhookDelete,
        r.WebhookList,
        r.Explain,
        r.History,
        r.AuditLog,
    }
)
"""What changes no job. Tokens, the process and webhooks are other parts' business, and EXPLAIN puts into words what the
model is compared with as it is: tests/unit/engine/test_explain.py holds it to that after stories like these."""

_TWO_STEPS: Final = frozenset({(WAITING, COMPLETED)})
"""The late ack of an attempt from before a restart: the attempt is taken back first, so it is seen as two moves."""


@dataclass
class Summary:
    """What happened in a campaign.

    Attributes:
        operations: commands and faults.
        recoveries: restarts after a crash or a failed write.
        stats: how often each command met each outcome, each fault happened, each event was told.
        moves: the moves of jobs from state to state that were seen.
    """

    operations: int = 0
    recoveries: int = 0
    stats: Counter[str] = field(default_factory=Counter)
    moves: set[tuple[int, int]] = field(default_factory=set)

    def add(self, other: "Summary") -> None:
        """Add another one to it."""
        self.operations += other.operations
        self.recoveries += other.recoveries
        self.stats += other.stats
        self.moves |= other.moves

    def missing(self) -> list[str]:
        """Commands that were never carried out, and moves that were never made: what the campaign did not test."""
        commands = [kind.__name__ for kind in REQUEST_TYPES if kind not in _NOT_SIMULATED]
        never = [name for name in commands if not self.stats[f"{name}: ok"]]
        return never + [f"move {move}" for move in sorted(MOVES - self.moves - _TWO_STEPS)]

    def table(self) -> str:
        """All counts, one a line."""
        return "\n".join(f"{count:>10,}  {name}" for name, count in sorted(self.stats.items()))


class Failed(AssertionError):
    """A seed failed; the text says how to live through it again."""


def live(seed: int, steps: int = STEPS, *, say: Callable[[str], None] | None = None) -> tuple[Summary, str]:
    """One run.

    Args:
        seed: decides everything.
        steps: operations, about.
        say: told of everything that happens.

    Returns:
        What happened, and a digest of the end: the same for the same seed, always and everywhere.

    Raises:
        Failed: the server did what it must not.
    """
    workload = None
    try:
        with watched_moves() as moves:
            workload = Workload(seed, say=say)
            workload.run(steps)
    except Exception as error:
        done = workload.done if workload else 0
        line = f"python -m tests.simulation --seed {seed} --steps {steps} -v"
        raise Failed(f"seed {seed} failed after {done} operations: {error!r}\nto see it again: {line}") from error
    world, digest = workload.world, _digest(workload)
    world.dismantle()
    return Summary(workload.done, world.disk.epoch - 1, world.stats, moves), digest


def campaign(seeds: Iterable[int], operations: int, steps: int = STEPS) -> Summary:
    """Run seed after seed until so many operations are done, in this process; the errors are those of `live`."""
    total = Summary()
    collecting = gc.isenabled()
    gc.disable()
    gc.freeze()
    try:
        for number, seed in enumerate(seeds):
            total.add(live(seed, steps)[0])
            if not number % _SWEEP:
                gc.collect()
            if total.operations >= operations:
                break
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()
    return total


def campaigns(first: int, operations: int, processes: int) -> Summary:
    """The same on several cores: every process takes its own seeds, from ``first`` on."""
    total = Summary()
    share = operations // processes
    with ProcessPoolExecutor(processes) as pool:
        runs = [pool.submit(campaign, range(first + n, first + 10**9, processes), share) for n in range(processes)]
        for run in runs:
            total.add(run.result())
    return total


def _digest(workload: Workload) -> str:
    facts = fingerprint(workload.world.runtime.engine)
    plain = {name: sorted(map(repr, value)) if isinstance(value, set) else value for name, value in facts.items()}
    plain["keys"] = sorted(facts["keys"].items())
    plain["parents"] = sorted((id, sorted(parents)) for id, parents in facts["parents"].items())
    return sha256(json.encode([plain, sorted(workload.world.stats.items())])).hexdigest()
