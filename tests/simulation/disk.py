"""A disk that forgets what was not synced, and a clock's worth of other trouble.

What is safe is a snapshot of rows (as far as groups were folded) and the groups after it: the same two things that a
real backend has. Folding happens at whatever points the simulation chooses, with the product's own fold, so that a
window of any shape is folded sooner or later.
"""

from collections.abc import Callable

from flashq.engine.records import Snapshot
from flashq.errors import StorageError
from flashq.storage.fold import Fold
from flashq.storage.records import decode

Submitted = tuple[int, bytes]


class Disk:
    """What survives a crash.

    Attributes:
        groups: the blobs that are not folded yet.
        folded: number of the newest folded group.
        epoch: how often it was opened.
        in_flight: the group that is being written: it may or may not survive.
    """

    def __init__(self, first_id: int, started: Callable[[], None]) -> None:
        """Args: ``first_id``: the next job's id; ``started``: called when a write begins."""
        self.groups: list[bytes] = []
        self.folded = 0
        self.epoch = 0
        self.in_flight: Submitted | None = None
        self._base = Snapshot(first_id, 0, 0, [], [], [], [])
        self._started = started

    @property
    def newest(self) -> int:
        """Number of the newest safe group."""
        return self.folded + len(self.groups)

    # --- the writer's side ---

    def submit(self, number: int, blob: bytes) -> None:
        """Begin to write; see `flashq.storage.writer.Writer.submit`."""
        assert self.in_flight is None, "two groups are being written at once"
        self.in_flight = number, blob
        self._started()

    def sync(self) -> int:
        """What is in flight has reached the disk. Returns its number."""
        assert self.in_flight is not None
        number, blob = self.in_flight
        self.in_flight = None
        self.commit(number, blob)
        return number

    def commit(self, number: int, blob: bytes) -> None:
        """See `flashq.storage.base.Storage.commit`."""
        if number > self.newest + 1:
            raise StorageError(f"group {number} cannot follow group {self.newest}")
        if number == self.newest + 1:
            self.groups.append(blob)

    # --- recovery ---

    def crash(self, *, written: bool) -> None:
        """The process died; ``written``: what was in flight made it to the disk."""
        if written and self.in_flight is not None:
            self.sync()
        self.in_flight = None

    def open(self) -> int:
        """See `flashq.storage.base.Storage.open`."""
        self.epoch += 1
        return self.newest

    def fold(self, count: int) -> None:
        """Fold the oldest ``count`` groups into the rows."""
        fold = Fold(self._base.next_id)
        for blob in self.groups[:count]:
            fold.feed(decode(blob))
        fold.settle()
        snapshot = fold.over(self._base)
        snapshot.jobs = list(snapshot.jobs)
        self._base = snapshot
        self.folded += len(self.groups[:count])
        del self.groups[:count]

    def load(self) -> Snapshot:
        """See `flashq.storage.base.Storage.load`."""
        self.fold(len(self.groups))
        self._base.epoch = self.epoch
        return self._base
