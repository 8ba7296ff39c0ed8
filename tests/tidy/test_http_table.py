"""The table of requests in the documentation is the one that the door goes by."""

import re
from typing import Any, Final, get_args

from tests.tidy.source import ROOT

from flashq.transports.http.health import Status
from flashq.transports.http.openapi import PLAIN, describe
from flashq.transports.http.routes import ROUTES, Route

PAGE: Final = ROOT / "docs" / "http.md"
BEGIN, END = "<!-- routes:begin -->\n", "<!-- routes:end -->\n"

DESCRIPTION: Final = describe(secured=True)


def test_every_status_of_a_server_is_told() -> None:
    """Each of them has its line under "Is it there?", and no line is about one that there is not."""
    section = PAGE.read_text(encoding="utf-8").partition("## Is it there?\n")[2].partition("\n## ")[0]
    told = re.findall(r"^\| `(\w+)` \| (\d+) \| .+ \|$", section, re.MULTILINE)
    assert told == [(status, "200" if status == "ok" else "503") for status in get_args(Status)]


def _type(schema: dict[str, Any]) -> str:
    """A schema in a word."""
    if "$ref" in schema:
        return str(schema["$ref"].rpartition("/")[2])
    if schema.get("type") == "array":
        return f"[{_type(schema['items'])}]"
    if "enum" in schema:
        return "string"
    return str(schema.get("type", "any JSON"))


def _row(route: Route) -> str:
    operation = DESCRIPTION["paths"][route.path][route.method.lower()]
    envelope = operation["responses"]["200"]["content"]["application/json"]["schema"]["properties"]
    beside = ", ".join(f"`{name}`" for name in envelope if name not in ("ok", "data"))
    answer = _type(envelope["data"]) + (f"; beside it {beside}" if beside else "")
    query = ", ".join(f"`{each['name']}`" for each in operation.get("parameters", ()) if each["in"] == "query")
    body = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    members = ", ".join(
        f"**`{name}`**" if name in body.get("required", ()) else f"`{name}`" for name in body.get("properties", ())
    )
    takes = {"": query and f"query: {query}", "members": f"body: {members}", "data": "body: any JSON"}[route.body]
    command, role = operation["x-flashq-command"], operation["x-flashq-role"]
    return f"| {route.method} `{route.path}` | {command} | {role} | {takes} | {answer} |"


def test_the_table_of_requests_is_true() -> None:
    """When it fails, it prints the table to put between the marks of the page."""
    rows = [_row(route) for route in sorted(ROUTES, key=lambda route: (route.path, route.method))]
    table = "\n".join(
        ("| request | command | role | takes (**what must be there**) | `data` |", "|---|---|---|---|---|", *rows, "")
    )
    text = PAGE.read_text(encoding="utf-8")
    found = text.partition(BEGIN)[2].partition(END)[0]
    assert found == table, f"docs/http.md should have, between its marks:\n{table}"


def test_the_others_are_named() -> None:
    """Every endpoint that is no command stands on the page."""
    text = PAGE.read_text(encoding="utf-8")
    assert [plain.path for plain in PLAIN if f"{plain.path}`" not in text] == []
