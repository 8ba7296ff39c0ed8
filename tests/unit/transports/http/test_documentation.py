"""Unit tests of `flashq.transports.http.documentation`: what the page may never hold. A browser opens it elsewhere."""

import re
from html.parser import HTMLParser

import pytest

from flashq import __version__
from flashq.transports.http.documentation import FILES, POLICY, content_of

NAMES = [name for name, _ in FILES.values()]


class _Elements(HTMLParser):
    """Every element of a page with its attributes, and the text inside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inline: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in ("script", "style") and data.strip():
            self.inline.append(data)


def _wrong_html(page: str) -> list[str]:
    found = _Elements(page)
    wrong = list(found.inline)
    for tag, attributes in found.elements:
        wrong += [f"{tag} {name}" for name in attributes if name.startswith("on") or name == "style"]
        wrong += [
            f"{tag} {name}={value}"
            for name, value in attributes.items()
            if name in ("src", "href", "action") and not re.match(r"[/#](?!/)", value or "")
        ]
    return wrong


_FORBIDDEN_JS = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|javascript:|\.style\b|"
    r"(?:local|session)Storage|document\.cookie|indexedDB|\.on\w+ = \"|https?://"
)


def test_the_page_holds_nothing_inline_and_nothing_from_elsewhere() -> None:
    """No script, style or handler in the markup, and every address is one of this server."""
    assert _wrong_html(content_of("docs.html").decode()) == []


@pytest.mark.parametrize(
    "page",
    [
        "<script>1</script>",
        "<style>a{}</style>",
        "<p onclick=x>",
        "<p style=x>",
        "<img src=//e.example/x>",
        "<a href=https://e.example>",
    ],
)
def test_what_is_wrong_would_be_seen(page: str) -> None:
    """The test above sees each of the ways."""
    assert _wrong_html(page) != []


def test_the_script_makes_no_markup_and_keeps_nothing() -> None:
    """What comes from the server becomes text; the token is gone with the page."""
    assert _FORBIDDEN_JS.findall(content_of("docs.js").decode()) == []


def test_the_style_loads_nothing() -> None:
    """No font, no picture, no other sheet."""
    assert re.findall(r"url\(|@import", content_of("docs.css").decode()) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_file_names_a_version(name: str) -> None:
    """They are given to everybody."""
    assert __version__ not in content_of(name).decode()


def test_the_policy() -> None:
    """Nothing unless it is named, and nothing inline is ever named."""
    assert POLICY.startswith(b"default-src 'none';")
    assert b"unsafe" not in POLICY
    assert b"*" not in POLICY
