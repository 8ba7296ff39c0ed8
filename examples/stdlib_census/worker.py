"""A worker of the census: pulls jobs, does them, says how it went. Start as many as there are cores.

    python worker.py flashq://127.0.0.1:6789

It names itself (HELLO) and gives signs of life (BEAT). So when it dies, its jobs are back with the others within half
a minute, whatever their own time limits.
"""

import os
import signal
import socket
import sys
import time
from pathlib import Path
from types import FrameType

from figures import Figures, measure, merge
from msgspec import Struct, convert

from flashq import FlashQ, JobRecord

QUEUE = "census"
BATCH = 16  # jobs a pull: one round trip for many small files, few enough that no worker sits on work for others
PATIENCE_MS = 500  # how long a pull waits, and so how long a worker without work takes to notice that it should stop
BEAT_S = 5  # the server gives a silent worker up after 30


class Task(Struct):
    """The payload of a job: either a file to measure, or earlier jobs whose results are to be put together.

    Attributes:
        file: path of a file.
        root: the folder that names in the report are relative to.
        parts: ids of jobs, which have completed when this one runs, because it depends on them.
    """

    file: str = ""
    root: str = ""
    parts: list[int] = []


class Worker:
    """One process that does jobs until it is told to stop."""

    def __init__(self, queue: FlashQ) -> None:
        self.queue = queue
        self.name = f"census-{socket.gethostname()}-{os.getpid()}"
        self.stopping = False
        self.beaten_at = time.monotonic()

    def run(self) -> None:
        """Work."""
        self.queue.hello(self.name, [QUEUE], BATCH, host=socket.gethostname(), pid=os.getpid())
        while not self.stopping:
            self.do_all(self.queue.pull_batch(QUEUE, BATCH, timeout=PATIENCE_MS))
            self.beat()
        self.queue.bye(self.name)  # what it might still hold goes back at once

    def do_all(self, jobs: list[JobRecord]) -> None:
        """Do some jobs: one ACKB for those that went well, a FAIL each for the others."""
        done: list[JobRecord] = []
        results: list[Figures] = []
        for job in jobs:
            try:
                results.append(self.do(job.decode(Task)))
            except Exception as error:  # whatever it is, it is this job's failure and not this worker's end
                self.queue.fail(job, f"{type(error).__name__}: {error}")
            else:
                done.append(job)
            self.beat()
        if done:
            acked = self.queue.ack_batch(done, results)
            for id in acked.stale:  # we were too slow, and somebody else has the job; his result counts
                print(f"{self.name}: job {id} was given to another worker", file=sys.stderr)

    def do(self, task: Task) -> Figures:
        """Do one job."""
        if task.file:
            return measure(Path(task.file), Path(task.root))
        with self.queue.pipeline() as pipeline:  # a hundred questions, one round trip
            parts = [pipeline.result(id) for id in task.parts]
        return merge([convert(part.result(), Figures) for part in parts])

    def beat(self) -> None:
        """Give a sign of life when it is due."""
        if time.monotonic() - self.beaten_at >= BEAT_S:
            self.queue.beat(self.name)
            self.beaten_at = time.monotonic()

    def stop(self, _signal: int, _frame: FrameType | None) -> None:
        """Finish the jobs at hand, then leave."""
        self.stopping = True


if __name__ == "__main__":
    with FlashQ(sys.argv[1]) as queue:
        worker = Worker(queue)
        signal.signal(signal.SIGTERM, worker.stop)
        worker.run()
