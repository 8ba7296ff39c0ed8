"""A job as everybody sees it, put together from its slot and its extra when somebody asks."""

from msgspec import UNSET, Raw

from flashq.engine.jobs import CHUNK_BITS, MASK, Extra, Jobs
from flashq.model import UNKNOWN, JobView

_NOTHING = Extra()


def view(jobs: Jobs, id: int) -> JobView | None:
    """The job, or None when there is none of that id or it is forgotten."""
    chunk = jobs.chunks.get(id >> CHUNK_BITS)
    slot = id & MASK
    if chunk is None or chunk.state[slot] == UNKNOWN:
        return None
    extra = jobs.extras.get(id, _NOTHING)
    options, created, lease = chunk.options[slot], chunk.created[slot], chunk.lease[slot]
    found = JobView(
        id,
        options.queue.name,
        Raw(chunk.data[slot]),
        options.priority,
        created,
        extra.run_at or created,
        lease.started_at if lease else extra.started_at,
        extra.attempts,
        options.max_attempts,
        options.backoff,
        options.ttl,
        options.timeout,
        extra.unique_key,
        list(extra.depends_on or ()),
        extra.progress,
        extra.message,
        list(extra.tags or ()),
        extra.custom_id if extra.custom_id is not None else UNSET,
    )
    if extra.inputs is not None:
        found.inputs = [Raw(extra.inputs.get(parent, b"null")) for parent in found.depends_on]
    return found
