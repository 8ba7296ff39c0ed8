"""The description of the HTTP door for programs: OpenAPI 3.1, made out of what the door itself goes by.

Paths, members, ranges, defaults and answers are read off the table of routes and off the typed requests and replies,
sentences off their docstrings; so the description cannot promise what the door does not do. What is written here by
hand is what no type knows: an example of each member, and the few endpoints that are no command.

It names no version of the server: whoever finds it need not learn which holes to look for.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from msgspec.structs import fields

from flashq.commands.table import COMMANDS
from flashq.errors import BY_CODE, FlashQError
from flashq.observe.history import Point
from flashq.protocol import requests
from flashq.transports.http.envelope import Encoded
from flashq.transports.http.health import HealthView
from flashq.transports.http.routes import ROUTES, Route
from flashq.transports.http.schemas import MEMBERS, QUEUE_NAME, Json, Types, summary, text_of

JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
VERSION: Final = "1"
"""Of the API. It changes when a program that was right before would be wrong."""

WORKER: Final = "FlashQ-Worker"


SHOWN: Final[Mapping[type, tuple[str, ...]]] = {
    requests.Push: ("data", "priority"),
    requests.PullBatch: ("count", "timeout"),
    requests.Ack: ("result", "token"),
    requests.AckBatch: ("ids", "tokens"),
    requests.Fail: ("error", "token"),
    requests.Heartbeat: ("token",),
    requests.Progress: ("progress", "message", "token"),
    requests.RetryDeadLetters: ("id",),
    requests.Cron: ("queue", "schedule", "data", "timezone"),
}
"""Members that the example of a body shows; of other requests those that must be there."""

TAGS: Final[Mapping[str, tuple[str, str]]] = {
    "queues": ("Queues", "Push and pull; pause and limit; dead letters."),
    "jobs": ("Jobs", "One job: how it is, and how its attempt went."),
    "crons": ("Schedules", "Jobs that push themselves."),
    "events": ("Events", "What happens, as it happens."),
    "ws": ("Events", ""),
    "webhooks": ("Webhooks", "Events to other programs, and jobs from them."),
    "stats": ("Watching", "Figures of the whole server."),
    "metrics": ("Watching", ""),
    "workers": ("Watching", ""),
    "commands": ("Commands", "Every command, as it is over lines."),
}
"""By the first word of a path: the heading under which it stands. Everything else is the server's."""

_ERRORS: Final[tuple[type[FlashQError], ...]] = (FlashQError, *BY_CODE.values(), Encoded)

SERVER: Final = ("Server", "The process itself.")

_CONFLICTS: Final = frozenset(
    {
        requests.Push, requests.PushBatch, requests.Ack, requests.AckBatch, requests.Fail, requests.Progress,
        requests.Heartbeat, requests.Cancel, requests.RetryDeadLetters, requests.Cron,
    }
)  # fmt: skip
"""What the state of a job, or a key that another holds, may stand in the way of."""


class Plain(NamedTuple):
    """An endpoint that is no command.

    Attributes:
        method, path: where it is.
        summary, more: what it does.
        data: the type under ``data``; None where the answer is no envelope.
        media: what the answer is then.
        query: text parameters of the query: name to meaning.
        statuses: how it may be refused.
        status: how it answers.
        token: whether it asks for one.
    """

    method: str
    path: str
    summary: str
    more: str = ""
    data: Any = None
    media: str = JSON
    query: Mapping[str, str] = {}
    statuses: tuple[int, ...] = (400, 401, 403, 404, 429, 500)
    status: int = 200
    token: bool = True


_LISTEN: Final = {
    "types": "Types of events, separated by commas; absent: all.",
    "token": "The token, for browsers, which cannot send it as a header here.",
    "last_event_id": "The id of the last event that was seen: those behind it come first.",
}
_OF_ONE: Final = ("", "/{queue}")

PLAIN: Final[tuple[Plain, ...]] = (
    *(
        Plain(
            "GET", f"/events{queue}", f"Events of {'one queue' if queue else 'all queues'}, as server-sent events",
            "Each has `event:` (its type), `data:` (an EVENT on one line) and `id:`. A `Last-Event-ID` goes on there.",
            media="text/event-stream", query=_LISTEN,
        )
        for queue in _OF_ONE
    ),
    *(
        Plain(
            "GET", f"/ws{queue}", f"Events of {'one queue' if queue else 'all queues'}, over a WebSocket",
            "One text frame an EVENT, once the connection is upgraded.",
            media="", query=_LISTEN, status=101,
        )
        for queue in _OF_ONE
    ),
    Plain(
        "GET", "/metrics/prometheus", "The figures for Prometheus", "Text format 0.0.4.", media="text/plain"
    ),
    Plain("GET", "/metrics/history", "Figures of the last hour", "A point every 5 s.", data=list[Point]),
    Plain(
        "GET", "/health", "Does it live?", "Asked without a token.",
        data=HealthView, statuses=(403, 500), token=False,
    ),
    Plain(
        "GET", "/ready", "Does it take work?", "503 with the same data while it does not.",
        data=HealthView, statuses=(401, 403, 429, 500),
    ),
    Plain("GET", "/openapi.json", "This description", data=None, media=JSON, statuses=(401, 403, 429, 500)),
)  # fmt: skip
"""Those that answer in a way of their own, beside `POST /commands`."""

COMMANDS_PATH: Final = "/commands"


def describe(*, secured: bool) -> Json:
    """The description.

    Args:
        secured: whether the server asks for tokens.
    """
    types = Types()
    types.add("Error", _error_schema())
    paths: dict[str, Json] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, types)
    for plain in PLAIN:
        paths.setdefault(plain.path, {})[plain.method.lower()] = _plain(plain, types)
    paths[COMMANDS_PATH] = {"post": _commands(types)}
    tags = {name: {"name": name, "description": text} for name, text in (*TAGS.values(), SERVER) if text}
    components: Json = {
        "schemas": types.components(),
        "responses": {_response_name(status): _refusal(status) for status in _statuses()},
    }
    description: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "FlashQ",
            "version": VERSION,
            "description": 'A job queue. Answers are `{"ok":true,"data":...}` or '
            '`{"ok":false,"error":TEXT,"code":CODE}` with a status that fits; the code is for programs and never '
            "changes. Times are milliseconds since the Unix epoch, durations milliseconds.",
        },
        "tags": list(tags.values()),
        "paths": dict(sorted(paths.items())),
        "components": components,
    }  # fmt: skip
    if secured:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        description["security"] = [{"token": []}]
    return description


# --- operations ---


def _operation(route: Route, types: Types) -> Json:
    members = types.members(route.request)
    for name, value in route.defaults.items():
        members[name]["default"] = value
    required = {
        info.encode_name for info in fields(route.request) if info.required and info.encode_name not in route.defaults
    }
    in_path = [part[1:-1] for part in route.path.split("/") if part.startswith("{")]
    operation = _head(route.method, route.path, text_of(route.request), COMMANDS[route.request].role)
    operation["x-flashq-command"] = COMMANDS[route.request].name
    operation["x-flashq-role"] = COMMANDS[route.request].role
    parameters = [_parameter("path", name, members.pop(name), required=True) for name in in_path]
    if route.body == "members":
        operation["requestBody"] = _body(route, members, required - set(in_path))
    elif route.body == "data":
        operation["requestBody"] = _content({"description": MEMBERS["data"].means}, MEMBERS["data"].example)
    else:
        parameters += [_parameter("query", name, schema, required=name in required) for name, schema in members.items()]
    if route.request is requests.PullBatch:
        parameters.append(_worker_parameter())
    if parameters:
        operation["parameters"] = parameters
    data, *beside = types.of([type(None) if route.data is None else route.data, *route.beside.values()])
    operation["responses"] = {
        "200": _answer(_envelope(data, dict(zip(route.beside, beside, strict=True)))),
        **_refusals(_statuses_of(route)),
    }
    return operation


def _head(method: str, path: str, text: str, role: str) -> Json:
    words = [method.lower(), *re.findall(r"[a-z]+", path)]
    needs = f"Takes a token of role {role} or stronger, where tokens are asked for." if role else ""
    return {
        "operationId": "_".join(words),
        "summary": summary(text),
        "description": " ".join(part for part in (text, needs) if part),
        "tags": [TAGS.get(path.split("/")[1], SERVER)[0]],
    }


def _parameter(where: str, name: str, schema: Json, *, required: bool) -> Json:
    made: Json = {"name": name, "in": where, "required": required}
    text = schema.pop("description", "")
    if text:
        made["description"] = text
    made["schema"] = _not_null(schema)
    if name in MEMBERS:
        made["example"] = MEMBERS[name].example
    return made


def _not_null(schema: Json) -> Json:
    """A parameter that is not there is left out: there is no null to write."""
    choices: list[Json] = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
    if len(choices) != 1:
        return schema
    return {name: each for name, each in schema.items() if name != "anyOf"} | choices[0]


def _worker_parameter() -> Json:
    text = "The worker that pulls, once it has said HELLO: the jobs are leased to it."
    return {"name": WORKER, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}


def _body(route: Route, members: dict[str, Json], required: set[str]) -> Json:
    schema: Json = {"type": "object", "properties": members}
    if required:
        schema["required"] = sorted(required)
    shown = [name for name in SHOWN.get(route.request, tuple(sorted(required))) if name in members]
    example = {name: MEMBERS[name].example for name in shown if name in MEMBERS}
    return _content(schema, example, required=bool(required))


def _content(schema: Json, example: Any, *, required: bool = True) -> Json:  # noqa: ANN401 - any JSON
    return {"required": required, "content": {JSON: {"schema": schema, "example": example}}}


def _plain(plain: Plain, types: Types) -> Json:
    text = f"{plain.summary}. {plain.more}".replace("?.", "?").strip()
    operation = _head(plain.method, plain.path, text, "")
    names = re.findall(r"{(\w+)}", plain.path)
    of_type = {"type": "string"}
    parameters = [
        _parameter("path", name, of_type | QUEUE_NAME | {"description": MEMBERS[name].means}, required=True)
        for name in names
    ]
    for name, means in plain.query.items():
        parameters.append({"name": name, "in": "query", "required": False, "description": means, "schema": of_type})
    if parameters:
        operation["parameters"] = parameters
    good: Json = {"description": "Done."}
    if plain.data is not None:
        (data,) = types.of([plain.data])
        good = _answer(_envelope(data, {}))
    elif plain.media == JSON:
        good["content"] = {JSON: {"schema": {"type": "object"}}}
    elif plain.media:
        good["content"] = {plain.media: {"schema": {"type": "string"}}}
    operation["responses"] = {str(plain.status): good, **_refusals(plain.statuses)}
    if plain.path == "/ready":
        operation["responses"]["503"] = good
    if not plain.token:
        operation["security"] = []
    return operation


def _commands(types: Types) -> Json:
    """One command is a JSON object; several are lines. What each may hold is told once, here."""
    commands = []
    for request, command in COMMANDS.items():
        members = types.members(request)
        required = [info.encode_name for info in fields(request) if info.required]
        schema = {
            "type": "object",
            "description": text_of(request),
            "properties": {"cmd": {"const": command.name}, "reqId": {"type": ["string", "null"]}, **members},
            "required": ["cmd", *required],
        }
        commands.append(types.add(f"{command.name}_COMMAND", schema))
    text = (
        "Carries out commands as they are over lines. A body is one command, or several with one in each line; the "
        "answer has their answers, one in each line, in order. Its status is 200 once the token was good: whether a "
        "command was refused stands in its line."
    )
    operation = _head("POST", COMMANDS_PATH, text, "")
    example = {"cmd": "PUSH", "queue": "mail", "data": {"to": "ada@example.org"}}
    operation["requestBody"] = {
        "required": True,
        "content": {
            JSON: {
                "schema": {"oneOf": commands},
                "example": example,
            },
            LINES: {"schema": {"type": "string"}},
        },
    }
    operation["parameters"] = [_worker_parameter()]
    operation["responses"] = {
        "200": {"description": "Their answers.", "content": {LINES: {"schema": {"type": "string"}}}},
        **_refusals((400, 401, 403, 404, 413, 415, 429, 500)),
    }
    return operation


# --- answers ---


def _envelope(data: Json, beside: Mapping[str, Json]) -> Json:
    return {
        "type": "object",
        "properties": {"ok": {"const": True}, "data": data, **beside},
        "required": ["ok", "data"],
    }


def _answer(schema: Json) -> Json:
    return {"description": "Done.", "content": {JSON: {"schema": schema}}}


def _statuses() -> list[int]:
    return sorted({error.http_status for error in _ERRORS})


def _statuses_of(route: Route) -> list[int]:
    """Whatever a route may be refused with."""
    found = {400, 401, 403, 404, 429, 500, 503}
    if route.body:
        found |= {413, 415}
    if route.changes:
        found.add(507)
    if route.request in _CONFLICTS:
        found.add(409)
    return sorted(found)


def _refusals(statuses: Iterable[int]) -> Json:
    return {str(status): {"$ref": f"#/components/responses/{_response_name(status)}"} for status in statuses}


def _response_name(status: int) -> str:
    return f"Refused{status}"


def _refusal(status: int) -> Json:
    errors = [error for error in _ERRORS if error.http_status == status]
    meanings = [text_of(error) for error in errors]
    if status == 500:
        meanings = ["A fault of the server; its log says more."]
    codes = {"properties": {"code": {"enum": [error.code for error in errors]}}}
    made: Json = {
        "description": " ".join(meanings) or "Refused.",
        "content": {JSON: {"schema": {"allOf": [{"$ref": "#/components/schemas/Error"}, codes]}}},
    }
    if status in (429, 503, 507):
        made["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "string"}}}
    return made


def _error_schema() -> Json:
    return {
        "type": "object",
        "description": "A request that was refused.",
        "properties": {
            "ok": {"const": False},
            "error": {"type": "string", "description": "What is wrong, for people; it may be worded anew."},
            "code": {"type": "string", "description": "What is wrong, for programs; it never changes."},
            "id": {"type": "integer", "description": "Of a duplicate: the job that holds the key."},
        },
        "required": ["ok", "error", "code"],
    }
