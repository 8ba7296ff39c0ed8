"""The words that all layers share."""

import pytest
from msgspec import Raw, ValidationError, json

from flashq import model
from flashq.model import STATE_NAMES, Event, Instant, JobSpec
from flashq.protocol.limits import MAX_DEPENDS_ON, MAX_KEY_CHARS, MAX_TAGS


def test_states_and_their_names() -> None:
    """The words of the contract, at the places of their numbers; 0 is no state."""
    numbers = {
        "unknown": model.UNKNOWN,
        "waiting": model.WAITING,
        "delayed": model.DELAYED,
        "active": model.ACTIVE,
        "completed": model.COMPLETED,
        "failed": model.FAILED,
        "waiting-children": model.WAITING_CHILDREN,
    }
    assert {name: STATE_NAMES.index(name) for name in numbers} == numbers
    assert len(STATE_NAMES) == len(numbers)
    assert model.UNKNOWN == 0


def test_an_instant_is_both_clocks() -> None:
    """In this order, by name."""
    now = Instant(1_700_000_000_000, 5)
    assert (now.wall, now.steady) == tuple(now) == (1_700_000_000_000, 5)


def test_a_job_needs_nothing_but_its_payload() -> None:
    """Everything else is left to the server's defaults."""
    spec = json.decode(b'{"data":{ "a":1}}', type=JobSpec)
    assert bytes(spec.data) == b'{ "a":1}'
    assert spec == JobSpec(data=spec.data)
    assert (spec.priority, spec.delay, spec.max_attempts, spec.backoff, spec.unique_key) == (0, None, None, None, None)


@pytest.mark.parametrize(
    "member",
    [
        '"priority":2147483648',
        '"delay":-1',
        '"ttl":315360000001',
        '"timeout":1.5',
        '"max_attempts":4294967296',
        '"backoff":"1s"',
        f'"unique_key":"{"x" * (MAX_KEY_CHARS + 1)}"',
        f'"job_id":"{"x" * (MAX_KEY_CHARS + 1)}"',
        f'"depends_on":{[1] * (MAX_DEPENDS_ON + 1)}',
        '"depends_on":[-1]',
        f'"tags":{["a"] * (MAX_TAGS + 1)}'.replace("'", '"'),
        '"tags":[1]',
    ],
)
def test_what_is_out_of_range_is_never_a_job(member: str) -> None:
    """The bounds stand in the types, so no layer has to check them again."""
    with pytest.raises(ValidationError):
        json.decode(f'{{"data":1,{member}}}'.encode(), type=JobSpec)


def test_an_event_has_only_what_is_set() -> None:
    """Members without a value are left out."""
    assert json.encode(Event("active", "q", 7, 100)) == (
        b'{"event_type":"active","queue":"q","job_id":7,"timestamp":100}'
    )
    event = Event("failed", "q", 7, 100, Raw(b"[ ]"), "why", 5)
    assert json.encode(event) == (
        b'{"event_type":"failed","queue":"q","job_id":7,"timestamp":100,"data":[ ],"error":"why","progress":5}'
    )
