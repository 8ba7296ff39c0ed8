"""What a line of the worker's log says of a job: enough to find it, and none of what it carries."""

from typing import Any

from msgspec import DecodeError, Struct, json

from flashq.client.results import JobRecord


class _Named(Struct):
    task: str = ""


_read_name = json.Decoder(_Named).decode


def facts(record: JobRecord) -> dict[str, Any]:
    """What a line says of a job."""
    try:
        task = _read_name(record.payload).task
    except DecodeError:
        task = ""
    return {"job": record.id, "queue": record.queue, "task": task, "attempt": record.attempts + 1}
