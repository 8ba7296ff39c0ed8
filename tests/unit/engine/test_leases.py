"""Deliveries and the workers that hold them; tokens that can be put in order."""

import pytest

from flashq.engine.leases import Lease, Worker, parse_token


def make_worker() -> Worker:
    """A worker with nothing in hand."""
    return Worker("w", [], 1, None, None, 0, 0, {})


def make_lease(worker: Worker | None, *ids: int) -> Lease:
    """A lease over these jobs."""
    lease = Lease("1.1.n", 0, 0, True, worker, list(ids), len(ids))
    if worker is not None:
        worker.leases[lease] = None
    return lease


def test_a_lease_ends_with_its_last_job() -> None:
    """Only the settling of the last job ends a lease; then it lets go of its ids and its worker."""
    worker = make_worker()
    lease = make_lease(worker, 1, 2, 3)
    other = make_lease(worker, 9)
    assert not lease.settled()
    assert worker.active == 3
    assert lease.ids == [1, 2, 3]
    assert lease.settled(2)
    assert lease.ids == []
    assert list(worker.leases) == [other]
    assert worker.active == 1


def test_a_lease_without_a_worker_ends_as_well() -> None:
    """A client that never named itself holds its jobs all the same."""
    assert make_lease(None, 1).settled()


@pytest.mark.parametrize(
    ("token", "name"),
    [
        ("1.2.abc", (1, 2)),
        ("ff.10.", (255, 16)),
        ("", None),
        ("1.2", None),
        ("1.2.3.4", None),
        ("x.2.n", None),
        ("1.y.n", None),
        ("é.1.n", None),
    ],
)
def test_tokens_are_read_as_epoch_and_serial(token: str, name: tuple[int, int] | None) -> None:
    """A token names the boot and the delivery, in hexadecimal; whatever is not ours names nothing."""
    assert parse_token(token) == name
