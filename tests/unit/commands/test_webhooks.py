"""Unit tests of `flashq.commands.webhooks`."""

import pytest
from tests.unit.commands.desk import Desk

from flashq.errors import BadRequest, NotFound

URL = "https://example.org/hook"


def test_add_list_delete(desk: Desk) -> None:
    """What is registered is listed, without its secret, until it is deleted."""
    id = desk.ask("WEBHOOK", url=URL, events=["failed", "completed", "failed"], queue="q", secret="hush")["id"]
    everything = desk.ask("WEBHOOK", url=URL, events=["pushed", "*"])["id"]
    listed = {hook["id"]: hook for hook in desk.ask("WEBHOOKLIST")["webhooks"]}
    counts = {"pending": 0, "delivered": 0, "failed": 0, "dropped": 0, "last_error": None}
    common = {"url": URL, "created_at": desk.now.wall, **counts}
    assert listed == {
        id: {"id": id, "events": ["completed", "failed"], "queue": "q", "has_secret": True, **common},
        everything: {"id": everything, "events": ["*"], "queue": None, "has_secret": False, **common},
    }
    assert desk.ask("WEBHOOKDELETE", id=id) == {}
    assert [hook["id"] for hook in desk.ask("WEBHOOKLIST")["webhooks"]] == [everything]
    with pytest.raises(NotFound, match=r"^Webhook not found$"):
        desk.ask("WEBHOOKDELETE", id=id)


def test_events_are_owed(desk: Desk) -> None:
    """The commands that follow lead to calls."""
    desk.ask("WEBHOOK", url=URL, events=["pushed"])
    desk.ask("PUSH", queue="q", data=1)
    assert desk.ask("WEBHOOKLIST")["webhooks"][0]["pending"] == 1


@pytest.mark.parametrize(
    ("members", "sentence"),
    [
        ({"url": "http://10.0.0.1/"}, "the URL names an address that is not public - at `\\$.url`"),
        ({"url": "ftp://example.org/"}, "the URL must begin with"),
        ({"events": ["failed", "exploded"]}, "unknown event type 'exploded' - at `\\$.events`"),
        ({"queue": "a b"}, "Queue name must contain only"),
        ({"queue": ""}, "Queue name cannot be empty"),
    ],
)
def test_what_is_refused_registers_nothing(desk: Desk, members: dict[str, object], sentence: str) -> None:
    """And says why, and where."""
    with pytest.raises(BadRequest, match=sentence):
        desk.ask("WEBHOOK", **{"url": URL, "events": ["*"], **members})
    assert desk.ask("WEBHOOKLIST")["webhooks"] == []


def test_private_addresses_where_they_are_allowed(desk: Desk) -> None:
    """A setting of the server, not of the client."""
    desk.context.private_webhooks = True
    assert desk.ask("WEBHOOK", url="http://127.0.0.1:8000/", events=["*"])["id"]
