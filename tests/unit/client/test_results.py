"""What methods return: payloads decoded when looked at, and pending answers."""

import json
from dataclasses import dataclass

import msgspec
import pytest

from flashq.client.results import Ending, Event, JobRecord, Pending, PushedIds, read_event
from flashq.errors import FlashQError, NotFound


@dataclass
class Mail:
    """A program's own type."""

    to: str


def job(data: str) -> JobRecord:
    """A pulled job with this payload."""
    return msgspec.json.decode(b'{"id":1,"queue":"q","data":%s,"token":"t"}' % data.encode(), type=JobRecord)


def test_the_payload_is_decoded_once() -> None:
    """Two looks give the same object: what a program changes in it stays changed."""
    seen = job('{"a":[1,2]}')
    assert seen.data == {"a": [1, 2]}
    assert seen.data is seen.data


def test_the_payload_is_kept_as_it_came() -> None:
    """Spaces, number forms and order of the JSON are what was pushed."""
    assert job('{ "b":1.0, "a" : 1e2 }').raw == b'{ "b":1.0, "a" : 1e2 }'


def test_the_payload_as_a_type() -> None:
    """The payload becomes the program's own type, or says why it does not."""
    assert job('{"to":"ada"}').decode(Mail) == Mail("ada")
    with pytest.raises(msgspec.ValidationError):
        job('{"to":1}').decode(Mail)


def test_old_servers_say_less() -> None:
    """Members that a server does not send have their quiet defaults."""
    seen = msgspec.json.decode(b'{"id":1,"queue":"q","data":null}', type=JobRecord)
    assert (seen.token, seen.tags, seen.data) == (None, [], None)


def test_events() -> None:
    """An event line is read with its data; without data there is None."""
    with_data = {"event_type": "completed", "queue": "q", "job_id": 1, "timestamp": 5, "data": {"a": 1}}
    event = read_event(json.dumps({"event": with_data}).encode())
    assert (event.event_type, event.job_id, event.data, event.error) == ("completed", 1, {"a": 1}, None)
    assert Event("pushed", "q", 1, 2).data is None


@pytest.mark.parametrize("line", [b"{", b'{"event":{}}', b"\xff"])
def test_unreadable_events(line: bytes) -> None:
    """A line that is no event is a FlashQError, not a surprise from the decoder."""
    with pytest.raises(FlashQError, match="unreadable event"):
        read_event(line)


def test_ids_are_a_list_that_knows_more() -> None:
    """The ids of a batch behave as a list; which of them are old is there for who asks."""
    ids = PushedIds([4, 5, 6], [1], [2])
    assert ids == [4, 5, 6]
    assert (ids.duplicates, ids.replayed) == ([1], [2])


def test_a_pending_answer() -> None:
    """Before the pipeline is sent there is no result, afterwards the result or the error."""
    pending: Pending[None] = Pending()
    assert not pending.done
    with pytest.raises(FlashQError, match="not been sent"):
        pending.result()
    pending.resolve(None)
    assert pending.done
    assert pending.result() is None
    refused: Pending[int] = Pending()
    refused.reject(NotFound("Job 1 not found"))
    assert refused.done
    assert isinstance(refused.error, NotFound)
    with pytest.raises(NotFound):
        refused.result()


def test_an_ending() -> None:
    """What a job returned, decoded at the first look or into a type of one's own; and whether it is over."""
    done = msgspec.json.decode(b'{"ok":true,"id":7,"state":"completed","result":[1,2],"error":null}', type=Ending)
    assert (done.id, done.error, done.ended) == (7, None, True)
    assert (done.result, done.decode(tuple[int, int])) == ([1, 2], (1, 2))
    for state, ended in (("failed", True), ("unknown", True), ("active", False), ("waiting-children", False)):
        ending = Ending(7, state, msgspec.Raw(b"null"), "boom")
        assert (ending.ended, ending.result) == (ended, None)
