"""Who takes part: what to install, how its worker is started, how much it is asked to do, and why it is set up so.

Every system gets settings for many short tasks, and the parser in C for Redis' answers. Where its settings leave a
choice (processes and threads, prefetch) a few were tried, and the fastest was taken; FlashQ keeps its defaults. One
worker takes part, as its command starts it. Where that command can start several processes it starts two, one for each
core of the smallest machine that this is meant for, if that was faster with tasks that do nothing.
"""

from dataclasses import dataclass
from typing import Final, Literal

Promise = Literal["full", "relaxed", "memory"]
"""What it means that a push was answered; the words are those of our own durabilities."""

MEANING: Final[dict[Promise, str]] = {
    "full": "A push is answered when it is synced to the disk (FlashQ `DURABILITY=full`, Redis `appendfsync always`)",
    "relaxed": "A push is answered when the operating system has it, which is synced every second "
    "(FlashQ `DURABILITY=relaxed`, Redis `appendfsync everysec`)",
    "memory": "A push is answered when it is in memory, and nothing is kept (FlashQ `DATABASE_URL=memory://`)",
}
"""In words, with the settings that promise it; in the order of the tables."""


@dataclass(frozen=True)
class Contestant:
    """One system in one set-up.

    Attributes:
        name: in the table.
        key: names its environment and its module in `benchmarks.versus.apps`; one system can have several set-ups.
        requirements: what is installed from PyPI; nothing for the one that is already here.
        package: the distribution whose version is shown.
        worker: the command, without the folder of the environment; ``{app}`` is the module of the tasks.
        jobs: tasks that are pushed and drained in one round: some seconds of work.
        promises: of the broker; each is a round of its own.
        setting: how it is set up, in words.
        results_apart: result storage is on only in a worker of its own, since no task can do without it.
    """

    name: str
    key: str
    requirements: tuple[str, ...]
    package: str
    worker: tuple[str, ...]
    jobs: int
    setting: str
    promises: tuple[Promise, ...] = ("relaxed", "full")
    results_apart: bool = False

    @property
    def app(self) -> str:
        """Module of the tasks."""
        return f"benchmarks.versus.apps.on_{self.key}"

    @property
    def command(self) -> tuple[str, ...]:
        """The worker's command line."""
        return tuple(word.replace("{app}", self.app) for word in self.worker)


FLASHQ: Final = Contestant(
    "FlashQ",
    "flashq",
    (),
    "flashq-server",
    ("flashq", "worker", "{app}:app"),
    15_000,
    "1 process, coroutine functions on its loop, uvloop; acknowledged after they ran",
    promises=("full", "relaxed", "memory"),
)
FLASHQ_PLAIN: Final = Contestant(
    "FlashQ, plain functions",
    "flashq_plain",
    (),
    "flashq-server",
    ("flashq", "worker", "{app}:app"),
    15_000,
    "the same, plain functions in its threads",
    promises=("full", "relaxed", "memory"),
)
"""Ours, as they come; the worker is one process, though it could start several."""

CELERY: Final = ("celery", "-A", "{app}", "worker", "--loglevel", "ERROR", "--without-gossip", "--without-mingle")

CONTESTANTS: Final = (
    FLASHQ,
    FLASHQ_PLAIN,
    Contestant(
        "Celery, prefork",
        "celery",
        ("celery[redis]", "hiredis"),
        "celery",
        (*CELERY, "--pool", "prefork", "--concurrency", "2"),
        2_000,
        "prefork pool of 2 processes, prefetch multiplier 128, no gossip, no mingle, results ignored but for the round "
        "trip; acknowledged before they run (its default)",
    ),
    Contestant(
        "Celery, threads",
        "celery",
        ("celery[redis]", "hiredis"),
        "celery",
        (*CELERY, "--pool", "threads", "--concurrency", "8"),
        2_000,
        "the same with a pool of 8 threads",
    ),
    Contestant(
        "RQ",
        "rq",
        ("rq", "hiredis"),
        "rq",
        ("rq", "worker", "--quiet", "--worker-class", "rq.SimpleWorker", "versus-rq"),
        800,
        "SimpleWorker, which does not fork for each job; result_ttl 0 but for the round trip, which blocks for the "
        "result",
    ),
    Contestant(
        "Dramatiq",
        "dramatiq",
        ("dramatiq[redis]", "hiredis"),
        "dramatiq",
        ("dramatiq", "{app}", "--processes", "2", "--threads", "32"),
        4_000,
        "2 processes of 32 threads; results stored for the round trip only; acknowledged after they ran",
    ),
    Contestant(
        "Huey",
        "huey",
        ("huey[redis]", "hiredis"),
        "huey",
        ("huey_consumer", "{app}.huey", "--quiet", "--workers", "2", "--worker-type", "process"),
        5_000,
        "RedisHuey, 2 processes, notify_result; not acknowledged: popped before they run",
    ),
    Contestant(
        "Taskiq",
        "taskiq",
        ("taskiq", "taskiq-redis", "hiredis", "uvloop"),
        "taskiq",
        ("taskiq", "worker", "--log-level", "ERROR", "--workers", "2", "--max-prefetch", "100", "{app}:broker"),
        4_000,
        "RedisStreamBroker (the one with acknowledgements), 2 processes, prefetch 100, uvloop; no result backend but "
        "for the round trip, which asks each millisecond",
        results_apart=True,
    ),
    Contestant(
        "SAQ",
        "saq",
        ("saq[redis,hiredis]", "typing_extensions"),
        "saq",
        ("saq", "--quiet", "--workers", "2", "{app}.settings"),
        2_000,
        "2 processes, concurrency 10; ttl -1 but for the round trip, which asks each millisecond; acknowledged after "
        "they ran",
    ),
    Contestant(
        "arq",
        "arq",
        ("arq", "hiredis"),
        "arq",
        ("arq", "{app}.WorkerSettings"),
        2_000,
        "poll_delay 1 ms (its default of 500 ms would be all that is seen; the price is processor time without work), "
        "max_jobs 100, keep_result 0 but for the round trip, which asks each millisecond",
    ),
)
"""In the order of the table."""
