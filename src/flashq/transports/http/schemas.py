"""Types as JSON Schema, with what their docstrings say: the vocabulary of the HTTP door's description.

msgspec makes the schemas; what it cannot do is added: defaults that are raw JSON, the sentences of an ``Attributes:``
section beside the members they speak of, and the rules that no type states.
"""

import re
from collections.abc import Iterable, Mapping
from inspect import cleandoc
from typing import Any, Final, NamedTuple

from msgspec import NODEFAULT, Raw, Struct
from msgspec.json import decode, schema_components
from msgspec.structs import FieldInfo, fields

from flashq.protocol.limits import MAX_QUEUE_NAME_BYTES
from flashq.protocol.replies import Reply

Json = dict[str, Any]


class Member(NamedTuple):
    """What people want to know of a member and its type does not say.

    Attributes:
        means: for members whose request says nothing of them.
        example: JSON that fits.
    """

    means: str
    example: Any


MEMBERS: Final[Mapping[str, Member]] = {
    "after": Member("Places of earlier jobs of the flow that must complete first.", [0]),
    "backoff": Member("Ms before the first retry, doubled each time; absent: the server's default.", 1_000),
    "collect": Member("Deliver the job with the results of its parents.", False),
    "concurrency": Member("Jobs it runs at once.", 4),
    "count": Member("At most so many.", 10),
    "cursor": Member("Where the page before said that this one begins.", "42"),
    "data": Member("The payload: any JSON, kept as it is sent.", {"to": "ada@example.org"}),
    "dead": Member("Never again: to the dead letters, whatever attempts are left.", False),
    "delay": Member("Ms until the job may run; absent: at once, or after the backoff.", 5_000),
    "depends_on": Member("Ids of jobs that must complete first.", [1]),
    "error": Member("What went wrong, for people.", "SMTP: mailbox full"),
    "events": Member("Types of events; none or `*`: all.", ["completed", "failed"]),
    "holds": Member("Id and token of every attempt that the worker knows of.", [[1, "1.1.5f2c"]]),
    "host": Member("Where it runs.", "worker-1"),
    "id": Member("The job's id.", 1),
    "ids": Member("Ids of jobs.", [1, 2]),
    "job_id": Member("The client's own id; makes a push safe to repeat.", "order-17"),
    "jobs": Member("The jobs.", [{"data": {"n": 1}}, {"data": {"n": 2}, "priority": 5}]),
    "limit": Member("How many.", 100),
    "max_attempts": Member("Failed attempts until the dead letters; 0 = no bound; absent: the server's default.", 3),
    "message": Member("How far it is, in words.", "half of it"),
    "name": Member("The name.", "nightly"),
    "pid": Member("Of its process.", 4711),
    "priority": Member("Higher runs first.", 5),
    "progress": Member("In percent.", 50),
    "queue": Member("The queue's name: letters, digits, `_`, `-`, `.`.", "mail"),
    "queues": Member("Queues' names.", ["mail", "slow"]),
    "result": Member("What the job returns: any JSON.", {"sent": True}),
    "results": Member("What the jobs return, aligned with `ids`.", [{"sent": True}, None]),
    "schedule": Member("A cron expression of five or six fields, or `*/SECONDS`.", "0 3 * * *"),
    "secret": Member("Signs what is sent; never shown again.", "7c1e0c9a"),
    "state": Member("The state of a job.", "waiting"),
    "since": Member("Nothing older: ms since the Unix epoch.", 1_700_000_000_000),
    "tags": Member("Words for people; the server only keeps them.", ["invoice"]),
    "timeout": Member("Ms that one attempt may run.", 60_000),
    "timezone": Member("In which the schedule counts; absent: UTC.", "Europe/Berlin"),
    "token": Member("The attempt, as the pull named it; a late worker is refused by it.", "1.1.5f2c"),
    "tokens": Member("The attempts, aligned with `ids`.", ["1.1.5f2c", "2.1.77aa"]),
    "ttl": Member("Ms after which a job that waits disappears.", 3_600_000),
    "unique_key": Member("At most one live job of the queue may hold it.", "order-17"),
    "url": Member("Where to call.", "https://example.org/hook"),
    "wait": Member("Ms to wait for news.", 1_000),
    "worker": Member("The worker's name.", "worker-1"),
}

_ATTRIBUTE: Final = re.compile(r"^ {4}([a-z_]+(?:, [a-z_]+)*): (.*(?:\n {8}.*)*)", re.MULTILINE)
_SECTION: Final = re.compile(r"\n\n[A-Z][a-z]+:\n", re.MULTILINE)
_NONE: Final = re.compile(r"\bNone\b")
_MARKED: Final = re.compile(r"``([^`]+)``|`([^`]+)`")


QUEUE_NAME: Final[Json] = {
    "minLength": 1,
    "maxLength": MAX_QUEUE_NAME_BYTES,
    "pattern": r"^[^\x00-,/:-@\[-\^`{-\x7f]+$",  # by what it excludes: readers differ in how they count far letters
}
"""What `flashq.commands.names` takes, as far as the expressions of all languages can say it: of the signs beyond ASCII
only letters and digits are taken."""


class Types:
    """Schemas of types. Those with a name become components."""

    def __init__(self) -> None:
        self._known: dict[str, Json] = {}

    def of(self, types: Iterable[Any]) -> list[Json]:
        """The schemas of these types."""
        wanted = list(types)
        schemas, found = schema_components(wanted, ref_template="#/components/schemas/{name}")
        structs = {struct.__name__: struct for struct in _structs(wanted)}
        for name, schema in found.items():
            self._known[name] = _polished(schema, structs.get(name))
        return list(schemas)

    def add(self, name: str, schema: Json) -> Json:
        """Make a component of a schema. Returns the reference to it."""
        self._known[name] = schema
        return {"$ref": f"#/components/schemas/{name}"}

    def components(self) -> Json:
        """All that has a name, in order."""
        return dict(sorted(self._known.items()))

    def members(self, request: type[Struct]) -> dict[str, Json]:
        """The schema of each member of a request, as a client sends it, with its default and its meaning."""
        infos = [info for info in fields(request) if info.name != "req_id"]
        schemas = self.of(info.type for info in infos)
        meanings = _meanings(request)
        return {info.encode_name: _member(info, schema, meanings) for info, schema in zip(infos, schemas, strict=True)}


def _structs(types: Iterable[Any]) -> Iterable[type[Struct]]:
    """All structs that these types are made of, and those that their members are made of."""
    for one in types:
        if isinstance(one, type) and issubclass(one, Struct):
            yield one
            yield from _structs(info.type for info in fields(one))
        else:
            yield from _structs(getattr(one, "__args__", ()))


def _polished(schema: Json, struct: type[Struct] | None) -> Json:
    """A component as people want it: what only lines need is left out, members say what they mean."""
    schema.pop("title", None)
    if struct is None:
        return schema
    left_out = {"ok", "reqId"} if issubclass(struct, Reply) else set()
    meanings = _meanings(struct)
    schema["properties"] = {
        name: _described(each, meanings.get(name, ""))
        for name, each in schema["properties"].items()
        if name not in left_out
    }
    if "required" in schema:
        schema["required"] = [name for name in schema["required"] if name not in left_out]
    text = text_of(struct)
    return _described({name: each for name, each in schema.items() if name != "description"}, text)


def _member(info: FieldInfo, schema: Json, meanings: Mapping[str, str]) -> Json:
    known = MEMBERS.get(info.name)
    made = _described(schema, meanings.get(info.name) or (known.means if known else ""))
    if info.name == "queue":
        made |= QUEUE_NAME
    if info.default is not NODEFAULT and info.default is not None:
        made["default"] = decode(info.default) if isinstance(info.default, Raw) else info.default
    return made


def _described(schema: Json, text: str) -> Json:
    return schema | {"description": text} if text else dict(schema)


# --- words ---


def text_of(described: type) -> str:
    """What a docstring says before its sections; nothing where docstrings were left out."""
    return _plain_words(_SECTION.split(cleandoc(described.__doc__ or ""))[0])


def summary(text: str) -> str:
    """The first thing that a text says."""
    return re.split(r"(?<=[.?!]) |[:;] ", text)[0].rstrip(".")


def _meanings(struct: type) -> dict[str, str]:
    """What a docstring, or that of a base, says of each member."""
    found: dict[str, str] = {}
    for base in struct.__mro__:
        for names, text in _ATTRIBUTE.findall(cleandoc(base.__doc__ or "")):
            for name in names.split(", "):
                found.setdefault(name, _sentence(_plain_words(text)))
    return found


def _plain_words(text: str) -> str:
    """A text of ours as one for people who write JSON."""
    text = _NONE.sub("null", text)
    return _MARKED.sub(lambda found: f"`{found[1] or found[2]}`", " ".join(text.split()))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
