"""Unit tests of `flashq.transports.http.openapi`."""

import json
from typing import Any, NamedTuple

import pytest
from msgspec.structs import fields
from openapi_spec_validator import OpenAPIV31SpecValidator

from flashq import __version__
from flashq.commands.table import COMMANDS
from flashq.errors import BY_CODE
from flashq.transports.http.openapi import PLAIN, describe
from flashq.transports.http.routes import ROUTES, Reader, Route
from flashq.transports.http.schemas import MEMBERS

OPEN = describe(secured=False)
SECURED = describe(secured=True)


class Operation(NamedTuple):
    """One, with its place."""

    method: str
    path: str
    described: dict[str, Any]


OPERATIONS = [
    Operation(method.upper(), path, described)
    for path, methods in SECURED["paths"].items()
    for method, described in methods.items()
]


def _of(route: Route) -> dict[str, Any]:
    found: dict[str, Any] = SECURED["paths"][route.path][route.method.lower()]
    return found


def _name(one: Route | Operation) -> str:
    return f"{one.method} {one.path}"


@pytest.mark.parametrize("description", [OPEN, SECURED], ids=["open", "secured"])
def test_it_is_openapi(description: dict[str, Any]) -> None:
    """As an independent validator reads the standard; and it is JSON."""
    OpenAPIV31SpecValidator(json.loads(json.dumps(description))).validate()


def test_every_route_is_described_and_nothing_else() -> None:
    """Both tables and `POST /commands`; what the router really answers is compared by a test of the whole server."""
    known = {(route.method, route.path) for route in (*ROUTES, *PLAIN)} | {("POST", "/commands")}
    assert {(one.method, one.path) for one in OPERATIONS} == known


@pytest.mark.parametrize("operation", OPERATIONS, ids=_name)
def test_an_operation_is_told(operation: Operation) -> None:
    """A summary, a heading that is there, and a meaning and an example of every parameter."""
    described = operation.described
    assert 0 < len(described["summary"]) <= 80
    assert described["tags"][0] in {tag["name"] for tag in SECURED["tags"]}
    for parameter in described.get("parameters", ()):
        assert parameter["description"], parameter


def test_operations_have_names_of_their_own() -> None:
    """Generators make functions of them."""
    names = [one.described["operationId"] for one in OPERATIONS]
    assert len(set(names)) == len(names)
    assert all(name.isidentifier() for name in names)


@pytest.mark.parametrize("route", ROUTES, ids=_name)
def test_every_member_is_explained(route: Route) -> None:
    """A new member needs a sentence in its request's docstring, or an entry in MEMBERS."""
    body = _of(route).get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    members = body.get("properties", {})
    assert [name for name, schema in members.items() if not schema.get("description")] == []


@pytest.mark.parametrize("route", ROUTES, ids=_name)
def test_every_example_makes_a_request(route: Route) -> None:
    """An example that is refused teaches the wrong thing. Members in need of an example get one in MEMBERS."""
    described = _of(route)
    given: dict[str, dict[str, str]] = {"path": {}, "query": {}, "header": {}}
    for parameter in described.get("parameters", ()):
        if parameter["in"] != "header":
            given[parameter["in"]][parameter["name"]] = str(parameter["example"])
    body = b""
    if "requestBody" in described:
        body = json.dumps(described["requestBody"]["content"]["application/json"]["example"]).encode()
    Reader(route).request(given["path"], given["query"], body)


@pytest.mark.parametrize("route", ROUTES, ids=_name)
def test_a_request_has_all_its_members(route: Route) -> None:
    """Path, query and body together are the command's members; what must be there is said to."""
    described = _of(route)
    parameters = {each["name"]: each for each in described.get("parameters", ()) if each["in"] != "header"}
    named = set(parameters)
    required = {name for name, each in parameters.items() if each["required"]}
    if route.body == "members":
        schema = described["requestBody"]["content"]["application/json"]["schema"]
        named |= set(schema["properties"])
        required |= set(schema.get("required", ()))
    elif route.body == "data":
        return
    assert named == set(route.request.__struct_encode_fields__) - {"reqId"}
    wanted = {info.encode_name for info in fields(route.request) if info.required} - set(route.defaults)
    assert required == wanted | {part[1:-1] for part in route.path.split("/") if part.startswith("{")}


def test_the_token_is_told_where_it_is_asked_for() -> None:
    """And only there; health is asked without one."""
    assert SECURED["security"] == [{"token": []}]
    assert SECURED["paths"]["/health"]["get"]["security"] == []
    assert "security" not in OPEN
    assert "securitySchemes" not in OPEN["components"]


def test_every_error_is_told_with_its_status() -> None:
    """Each code of the tree stands in the answer of its status."""
    for code, error in BY_CODE.items():
        refused = SECURED["components"]["responses"][f"Refused{error.http_status}"]
        (_, codes) = refused["content"]["application/json"]["schema"]["allOf"]
        assert code in codes["properties"]["code"]["enum"]


def test_every_command_is_told() -> None:
    """`POST /commands` takes all of them, each with its word and its members."""
    body = SECURED["paths"]["/commands"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    names = [each["$ref"].rpartition("/")[2] for each in body["oneOf"]]
    words = [SECURED["components"]["schemas"][name]["properties"]["cmd"]["const"] for name in names]
    assert words == [command.name for command in COMMANDS.values()]


def test_it_tells_strangers_nothing() -> None:
    """Neither the version of the server nor where it lies."""
    text = json.dumps(SECURED)
    assert __version__ not in text
    assert "src/flashq" not in text


def test_no_member_is_explained_in_vain() -> None:
    """What no request has is gone from MEMBERS too."""
    used = {name for request in COMMANDS for name in (*request.__struct_fields__, "jobs", "after")}
    assert sorted(set(MEMBERS) - used) == []
