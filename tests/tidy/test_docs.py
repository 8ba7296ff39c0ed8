"""The documentation is complete and true where a machine can tell: nothing missing, no dead link, no stale number."""

import ast
import re
import unicodedata
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from tests.tidy.source import ROOT, SOURCE, breaches, name_of, tree

from flashq import errors
from flashq.client.address import CA_VARIABLE, URL_VARIABLE
from flashq.commands.table import COMMANDS
from flashq.config import VARIABLES
from flashq.protocol import limits
from flashq.protocol.requests import REQUEST_TYPES

DOCS: Final = ROOT / "docs"

WRITTEN: Final = ("src", "tests", "tools", "docs", "benchmarks", "examples", "changelog.d", ".ci")
"""Folders whose files people wrote; everything else in the working tree is made by a program."""

TEXT: Final = frozenset({".py", ".md", ".toml", ".sql", ".txt", ".yaml", ".yml", ".json", ".sh"})
TEXT_WITHOUT_SUFFIX: Final = frozenset({"Makefile", "LICENSE", "run", ".editorconfig", ".gitignore"})

MAX_README_LINES: Final = 150

_LINK: Final = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING: Final = re.compile(r"^#{1,6} +(.*)$", re.MULTILINE)
_FENCE: Final = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_PRIVATE_PATH: Final = re.compile(r"(?<![\w.])/(?:home|Users|root|work)/[A-Za-z]")
_WRONG_NAME: Final = re.compile(r"pip3? install (?:-\S+ )*flashq(?!-server)")
_VARIABLE: Final = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*")


def _written_files(suffix: str = "") -> list[Path]:
    """Every text file that people wrote, or those of one suffix."""
    top = [path for path in ROOT.iterdir() if path.is_file()]
    below = [path for folder in WRITTEN for path in (ROOT / folder).rglob("*") if path.is_file()]
    found = [path for path in (*top, *below) if path.suffix in TEXT or path.name in TEXT_WITHOUT_SUFFIX]
    return sorted(path for path in found if path.suffix == suffix or not suffix)


@cache
def _all_docs() -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in sorted(DOCS.rglob("*.md")))


def _prose(path: Path) -> str:
    """A document without its code blocks, where a `#` is no heading and brackets are no link."""
    return _FENCE.sub("", path.read_text(encoding="utf-8"))


def _anchors(path: Path) -> set[str]:
    """What a link into a document may name: its headings, as the usual viewers spell them."""
    found: set[str] = set()
    for heading in _HEADING.findall(_prose(path)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
        kept = "".join(char for char in text if char in "-_ " or unicodedata.category(char)[0] in "LNM")
        slug = kept.replace(" ", "-")
        found.add(slug if slug not in found else f"{slug}-{sum(one.startswith(slug) for one in found)}")
    return found


# --- prose in the code ---


def test_every_module_says_what_it_is_for() -> None:
    """The first thing a reader needs is what a file is for; its name alone rarely tells why it is so."""
    said = {path: ast.get_docstring(tree(path)) or "" for path in _written_files(".py")}
    assert [name_of(path) for path, text in said.items() if not text.strip()] == []


# --- complete ---


def _commands() -> set[str]:
    return {request_type.__struct_config__.tag for request_type in REQUEST_TYPES}


def test_every_command_is_documented() -> None:
    """Every command is a heading of the protocol, since a command nobody can look up is used by guessing."""
    headings = _HEADING.findall(_prose(DOCS / "protocol.md"))
    assert sorted(_commands() - {word for heading in headings for word in re.findall(r"[A-Z]+", heading)}) == []


def test_no_other_command_is_documented() -> None:
    """A heading in capitals is a command that exists: what was removed must leave the document as well."""
    named = {
        word
        for heading in _HEADING.findall(_prose(DOCS / "protocol.md"))
        if re.fullmatch(r"[`A-Z, /]+", heading)
        for word in re.findall(r"[A-Z]{2,}", heading)
    }
    assert sorted(named - _commands()) == []


def test_the_table_of_roles_is_that_of_the_commands() -> None:
    """Each command stands in docs/security.md beside the weakest role that may use it, and beside no other."""
    text = (DOCS / "security.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) \| ((?:`[A-Z]+` ?)*)\|$", text, re.MULTILINE)
    told = {(role, name) for role, names in rows for name in re.findall("[A-Z]+", names)}
    assert told == {(command.role, command.name) for command in COMMANDS.values() if command.role != "anyone"}


def test_every_error_code_is_documented() -> None:
    """Programs match on codes, so each must be explained somewhere."""
    assert [code for code in errors.BY_CODE if f"`{code}`" not in _all_docs()] == []


def test_every_limit_is_documented_with_its_value() -> None:
    """A bound that a user meets unprepared is a fault; one that is documented with another number is a worse one."""
    bounds = {name: value for name, value in vars(limits).items() if name.isupper() and isinstance(value, int)}
    assert [f"{name} = {value}" for name, value in bounds.items() if value not in _numbers_beside(name)] == []


def _numbers_beside(name: str) -> set[int]:
    """The numbers on all lines of the documentation that name a limit; 1,000 and 1_000 are numbers too."""
    lines = [line for line in _all_docs().splitlines() if re.search(rf"\b{name}\b", line)]
    return {int(re.sub("[,_]", "", number)) for line in lines for number in re.findall(r"\d[\d,_]*", line)}


def test_every_environment_variable_is_documented() -> None:
    """A setting that is not in the documentation does not exist for those who run the server."""
    assert [name for name in (*VARIABLES, URL_VARIABLE, CA_VARIABLE) if f"`{name}`" not in _all_docs()] == []


@pytest.mark.parametrize("reader", [SOURCE / "config.py", SOURCE / "client" / "address.py"], ids=name_of)
def test_no_environment_variable_is_hidden(reader: Path) -> None:
    """What the readers of the environment name in capitals is in their lists, or the test above would not see it."""
    constants = [node.value for node in ast.walk(tree(reader)) if isinstance(node, ast.Constant)]
    named = {text for text in constants if isinstance(text, str) and _VARIABLE.fullmatch(text)}
    assert sorted(named - {*VARIABLES, URL_VARIABLE, CA_VARIABLE}) == []


# --- true ---


def test_the_front_door_is_short() -> None:
    """A README that is longer is not read; it points to docs/ instead."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= MAX_README_LINES


def _dead_links(path: Path) -> list[str]:
    dead = []
    for target in _LINK.findall(_prose(path)):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        there = (path.parent / file).resolve() if file else path
        if not there.exists() or (anchor and anchor not in _anchors(there)):
            dead.append(target)
    return dead


def test_links_lead_somewhere() -> None:
    """Every link inside the repository names a file that is there, and a heading that is there if it names one."""
    assert breaches(_written_files(".md"), _dead_links) == {}


def test_every_document_can_be_reached() -> None:
    """A document that the index does not link to is one that nobody finds."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    missing = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md") if path.name != "index.md"]
    assert sorted(name for name in missing if f"({name})" not in index) == []


def test_no_private_paths() -> None:
    """Nothing names a folder of somebody's machine: it means nothing, or something else, everywhere else."""
    assert breaches(_written_files(), lambda path: _PRIVATE_PATH.findall(path.read_text(encoding="utf-8"))) == {}


def test_the_package_name_is_the_right_one() -> None:
    """On the package index the short name belongs to somebody else, so no document may tell people to install it."""
    assert breaches(_written_files(".md"), lambda path: _WRONG_NAME.findall(path.read_text(encoding="utf-8"))) == {}


@pytest.mark.parametrize(
    ("text", "anchors"),
    [
        ("# One thing\n## `PUSH`\n", {"one-thing", "push"}),
        ("# What's new? (v1.0)\n# [Link](x.md)\n", {"whats-new-v10", "link"}),
        ("# A\n# A\n```\n# no heading\n```\n", {"a", "a-1"}),
    ],
)
def test_anchors_are_spelt_as_viewers_spell_them(text: str, anchors: set[str], tmp_path: Path) -> None:
    """The link check is only worth something if its idea of an anchor is the usual one."""
    document = tmp_path / "document.md"
    document.write_text(text)
    assert _anchors(document) == anchors
