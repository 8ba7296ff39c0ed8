"""``python -m benchmarks``: all questions, one after the other; about eleven minutes."""

from benchmarks import hot_path, http, latency, memory, recovery, scaling, streams, throughput, worker
from benchmarks.report import main

main(
    {
        "benchmarks.hot_path": hot_path.run,
        "benchmarks.throughput": throughput.run,
        "benchmarks.latency": latency.run,
        "benchmarks.memory": memory.run,
        "benchmarks.recovery": recovery.run,
        "benchmarks.scaling": scaling.run,
        "benchmarks.worker": worker.run,
        "benchmarks.streams": streams.run,
        "benchmarks.http": http.run,
    },
    "benchmarks",
)
