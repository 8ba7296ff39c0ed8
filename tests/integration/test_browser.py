"""The page of the HTTP door in a real browser: under its policy it works, asks nobody else, and shows data as text.

Where there is no browser these tests skip with the reason, except with ``FLASHQ_REQUIRE_CHAOS=1``.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from tests.fakes.browser import Browser, find_browser
from tests.fakes.http_client import HttpClient
from tests.fakes.server_process import MEMORY, ServerProcess

pytestmark = pytest.mark.slow

TOKEN = "a token that nobody guesses"

_RUN: Final = "window.ran=true"
_ELEMENTS: Final = (
    f"<script>{_RUN}</script>",
    f"<img src=x onerror={_RUN}>",
    f"<svg onload={_RUN}>",
    f"<body onload={_RUN}>",
    "<iframe srcdoc='<script>parent.ran=true</script>'>",
    f"<details open ontoggle={_RUN}>",
    f"<input autofocus onfocus={_RUN}>",
    f"<a href='javascript:{_RUN}'>x</a>",
    f"<math><mtext><script>{_RUN}</script>",
    "<link rel=stylesheet href=//evil.example/x.css>",
)
_BEFORE: Final = ("", '"', "'>", "</pre></li></ol>")
PAYLOADS: Final = tuple(before + element for before in _BEFORE for element in _ELEMENTS)
"""Forty of them: markup by itself, and markup that first leaves what it was put into."""


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One for all tests."""
    program = find_browser()
    if program is None:
        reason = "there is no Chromium: `make browser` installs it"
        if os.environ.get("FLASHQ_REQUIRE_CHAOS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    with Browser(program, tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest.fixture
def opened(browser: Browser) -> Browser:
    """The same, with nothing noted yet."""
    browser.open("about:blank")
    browser.until("location.href === 'about:blank'")
    browser.requests.clear()
    browser.said.clear()
    return browser


def _elsewhere(browser: Browser, home: str) -> list[str]:
    return [url for url in browser.requests if not url.startswith((f"{home}/", "about:"))]


def _listen(browser: Browser) -> None:
    browser.run("document.getElementById('listen-button').click()")
    browser.until("document.getElementById('listen-state').textContent === 'listening'")


def _send(browser: Browser, operation: str, **fields: Any) -> str:
    """Fill in the form of an operation and send it. Returns what the page then shows."""
    form = f"document.querySelector('#{operation} form')"
    for name, value in fields.items():
        place = json.dumps(f"{operation}-{name}")
        browser.run(f"document.getElementById({place}).value = {json.dumps(value)}")
    browser.run(f"document.getElementById('{operation}').open = true; {form}.requestSubmit()")
    browser.until(f"/^[0-9]/.test({form}.querySelector('p').textContent)")
    shown: str = browser.run(f"{form}.querySelector('p').textContent + {form}.querySelector('pre').textContent")
    return shown


def test_the_page_works_under_its_policy(opened: Browser, tmp_path: Path) -> None:
    """All requests are listed, one is tried and its event is shown; the console stays empty, nobody else is asked."""
    with ServerProcess(tmp_path, url=MEMORY) as server, HttpClient(server.http_port) as web:
        home = f"http://127.0.0.1:{server.http_port}"
        opened.open(f"{home}/")
        listed = opened.until("document.querySelectorAll('#operations details').length")
        paths = web.ask("GET", "/openapi.json").json["paths"]
        assert listed == sum(map(len, paths.values()))
        assert opened.run("location.pathname") == "/docs"
        _listen(opened)
        shown = _send(opened, "post_queues_queue_jobs", queue="seen", body='{"data": {"n": 1.10}}')
        assert shown.startswith("200")
        assert '"data":{"n": 1.10}' in shown
        event = json.loads(opened.until("document.querySelector('#events li')?.textContent"))
        assert (event["event_type"], event["queue"]) == ("pushed", "seen")
        opened.run("document.getElementById('listen-button').click()")
        assert opened.said == []
        assert _elsewhere(opened, home) == []


def test_data_is_text(opened: Browser, tmp_path: Path) -> None:
    """Markup in jobs is shown as it is written, in answers and in events, and nothing of it comes alive."""
    with ServerProcess(tmp_path, url=MEMORY) as server, HttpClient(server.http_port) as web:
        home = f"http://127.0.0.1:{server.http_port}"
        opened.open(f"{home}/docs")
        opened.until("document.querySelectorAll('#operations details').length")
        before = opened.run("document.querySelectorAll('script, img, svg, iframe, math, link').length")
        _listen(opened)
        for payload in PAYLOADS:
            web.ok("POST", "/queues/hostile/jobs", {"data": payload, "tags": [payload], "max_attempts": 1})
        opened.until(f"document.querySelectorAll('#events li').length === {len(PAYLOADS)}")
        events = opened.run("[...document.querySelectorAll('#events li')].map((each) => each.textContent)")
        assert [json.loads(event)["data"] for event in reversed(events)] == list(PAYLOADS)
        shown = _send(opened, "get_jobs", queue="hostile")
        listed = json.loads(shown[shown.index("{") :])["data"]["jobs"]
        assert [job["data"] for job in reversed(listed)] == list(PAYLOADS)
        assert opened.run("document.querySelectorAll('script, img, svg, iframe, math, link').length") == before
        assert opened.run("window.ran === undefined")
        assert opened.run("document.querySelectorAll('#events li > *, pre > *').length") == 0
        assert opened.said == []
        assert _elsewhere(opened, home) == []


def test_the_policy_holds(opened: Browser, tmp_path: Path) -> None:
    """Were markup ever put into the page, its scripts would not run and its addresses would not be asked."""
    with ServerProcess(tmp_path, url=MEMORY) as server:
        opened.open(f"http://127.0.0.1:{server.http_port}/docs")
        opened.until("document.querySelectorAll('#operations details').length")
        opened.run("window.refused = 0; addEventListener('securitypolicyviolation', () => { refused += 1; }); 1")
        markup = json.dumps("".join(PAYLOADS[:3]) + PAYLOADS[9])
        opened.run(f"document.getElementById('about').innerHTML = {markup}; 1")
        opened.until("refused >= 2")
        assert opened.run("window.ran === undefined")


def test_with_a_token(opened: Browser, tmp_path: Path) -> None:
    """The page opens without one and asks for it; with it it shows everything, and events too; it keeps it nowhere."""
    with ServerProcess(tmp_path, url=MEMORY, environment={"AUTH_TOKENS": TOKEN}) as server:
        opened.open(f"http://127.0.0.1:{server.http_port}/docs")
        opened.until("document.getElementById('notice').textContent === 'This server asks for a token.'")
        opened.run(f"document.getElementById('token').value = {json.dumps(TOKEN)}")
        opened.run("document.getElementById('access').requestSubmit()")
        opened.until("document.querySelectorAll('#operations details').length")
        _listen(opened)
        assert _send(opened, "post_queues_queue_jobs").startswith("200")
        opened.until("document.querySelectorAll('#events li').length")
        assert opened.run("localStorage.length + sessionStorage.length + document.cookie.length") == 0
        opened.run("location.reload()")
        opened.until("document.getElementById('notice').textContent === 'This server asks for a token.'")
        assert opened.run("document.getElementById('token').value") == ""


def test_a_page_that_is_left_while_it_is_asked(opened: Browser) -> None:
    """Of the helper: an answer that the old page owes is asked for again from the new one."""
    opened.run("window.name = 'old'")
    leaving = "new Promise(() => { window.name = 'new'; location.reload() })"
    assert opened.until(f"window.name === 'new' ? 'the new one answers' : {leaving}") == "the new one answers"
