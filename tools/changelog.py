"""Assemble CHANGELOG.md from the fragments in changelog.d/.

Every change that a user can notice brings a file ``changelog.d/NAME.KIND.md`` with a sentence or two. Two people
who edit the top of one file always collide; two people who add a file never do. At a release the fragments
become a section and are deleted.

Usage:
    python tools/changelog.py check                   are all fragments well formed?
    python tools/changelog.py draft                   print the section as it would be
    python tools/changelog.py release 0.2.0 2026-12-01    write the section, delete the fragments
"""

import re
import sys
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent

KINDS: Final = {
    "added": "Added",
    "changed": "Changed",
    "fixed": "Fixed",
    "removed": "Removed",
    "security": "Security",
}
"""The kinds of change in the order in which a section lists them; the word in the file name and the heading."""

MARK: Final = "<!-- releases: new sections go below this line -->"

_FRAGMENT_NAME: Final = re.compile(r"(?P<name>[a-z0-9-]+)\.(?P<kind>[a-z]+)\.md")


class Fragment(NamedTuple):
    """One change, as its author told it."""

    name: str
    kind: str
    text: str


def read_fragment(path: Path) -> Fragment:
    """Read one file of changelog.d.

    Raises:
        ValueError: its name or its content is not as it should be; the sentence says what to do.
    """
    parts = _FRAGMENT_NAME.fullmatch(path.name)
    if parts is None or parts["kind"] not in KINDS:
        raise ValueError(f"{path.name}: call it NAME.KIND.md, where KIND is one of {', '.join(KINDS)}")
    text = path.read_text(encoding="utf-8").strip()
    if not text:
        raise ValueError(f"{path.name}: is empty")
    if text.startswith(("#", "-", "*")):
        raise ValueError(f"{path.name}: write plain sentences; the heading and the bullet are added")
    return Fragment(parts["name"], parts["kind"], text)


def read_fragments(folder: Path) -> list[Fragment]:
    """All fragments, by name. README.md explains the folder and is none. Raises ValueError."""
    return [read_fragment(path) for path in sorted(folder.iterdir()) if path.name != "README.md"]


def section(title: str, fragments: list[Fragment]) -> str:
    """The fragments as one section of the changelog, grouped by kind."""
    groups = [_group(KINDS[kind], [each for each in fragments if each.kind == kind]) for kind in KINDS]
    return "\n\n".join([f"## {title}", *filter(None, groups)])


def with_section(changelog: str, new: str) -> str:
    """The changelog with a section added on top. Raises ValueError if it has no mark."""
    if changelog.count(MARK) != 1:
        raise ValueError(f"CHANGELOG.md: this line must be there once:\n{MARK}")
    head, tail = changelog.split(MARK)
    return f"{head}{MARK}\n\n{new}\n{tail}"


def release(root: Path, version: str, date: str) -> None:
    """Move the fragments into the changelog.

    Raises:
        ValueError: there is nothing to release, a fragment is malformed, or version or date are not such.
    """
    if not re.fullmatch(r"\d+\.\d+\.\d+", version) or not re.fullmatch(r"\d{4}-\d\d-\d\d", date):
        raise ValueError("a version looks like 0.2.0, a date like 2026-12-01")
    fragments = read_fragments(root / "changelog.d")
    if not fragments:
        raise ValueError("changelog.d holds no fragment")
    changelog = root / "CHANGELOG.md"
    text = with_section(changelog.read_text(encoding="utf-8"), section(f"{version} ({date})", fragments))
    changelog.write_text(text, encoding="utf-8")
    for fragment in fragments:
        (root / "changelog.d" / f"{fragment.name}.{fragment.kind}.md").unlink()


def _group(heading: str, fragments: list[Fragment]) -> str:
    if not fragments:
        return ""
    items = ["- " + fragment.text.replace("\n", "\n  ") for fragment in fragments]
    return "\n".join([f"### {heading}", "", *items])


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Do what the module's docstring says. Returns the exit code."""
    try:
        match arguments:
            case ["check"]:
                read_fragments(root / "changelog.d")
            case ["draft"]:
                print(section("Unreleased", read_fragments(root / "changelog.d")))
            case ["release", version, date]:
                release(root, version, date)
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
