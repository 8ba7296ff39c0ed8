"""A real browser, headless, driven over its DevTools protocol: for tests of what only a browser does.

The system's Chromium and a WebSocket are all it takes. Everything that a page asks for or says on its console is
kept, so that a test can look at it afterwards.
"""

import json
import os
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from websockets.sync.client import ClientConnection, connect

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS: Final = 30
ANSWER_SECONDS: Final = 20


def find_browser() -> str | None:
    """Where it is; None: there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


class Refused(Exception):
    """The browser does not do what it was asked, as for a page that is left for another one meanwhile."""


class Browser:
    """One browser with one page.

    Attributes:
        requests: URLs that were asked for.
        said: what the console got: messages of scripts and of the browser itself, errors that nobody caught.
    """

    def __init__(self, program: str, folder: Path) -> None:
        """Start it. ``folder``: for its profile."""
        self.requests: list[str] = []
        self.said: list[str] = []
        self._number = 0
        self._session = ""
        self._closing = ExitStack()
        self._socket: ClientConnection
        options = ["--headless=new", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        options += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
        if os.geteuid() == 0:
            options.append("--no-sandbox")  # it refuses to run as root otherwise
        self._process = subprocess.Popen(
            [program, *options, "--remote-debugging-port=0", f"--user-data-dir={folder}", "about:blank"],
            env={"PATH": os.environ.get("PATH", ""), "HOME": str(folder)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._connect(folder / "DevToolsActivePort")
        except BaseException:
            self._end()
            raise

    def __enter__(self) -> "Browser":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def open(self, url: str) -> None:
        """Show a page."""
        self._call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """What an expression gives, as JSON has it; a promise is awaited."""
        answer = self._call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, script: str, seconds: float = ANSWER_SECONDS) -> Any:
        """The first true value that an expression gives; while a page is being loaded or left it may fail."""
        deadline = time.monotonic() + seconds
        trying = f"(() => {{ try {{ return {script} }} catch {{ return null }} }})()"
        refused: Refused | None = None
        while True:
            try:
                if value := self.run(trying):
                    return value
            except Refused as error:
                refused = error
            assert time.monotonic() < deadline, f"never true: {script}; the console has {self.said} ({refused})"
            time.sleep(0.02)

    def _connect(self, told: Path) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not (told.exists() and told.read_text().count("\n")):
            assert time.monotonic() < deadline, "the browser did not start"
            assert self._process.poll() is None, "the browser ended"
            time.sleep(0.05)
        port, path = told.read_text().split()
        address = f"ws://127.0.0.1:{port}{path}"
        self._socket = self._closing.enter_context(connect(address, max_size=None, compression=None, proxy=None))
        while not (pages := self._pages()):  # it listens before it has opened its first one
            assert time.monotonic() < deadline, "the browser has no page"
            time.sleep(0.05)
        attached = self._call("Target.attachToTarget", targetId=pages[0]["targetId"], flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Runtime", "Log", "Network", "Page"):
            self._call(f"{domain}.enable")

    def _pages(self) -> list[dict[str, Any]]:
        return [each for each in self._call("Target.getTargets")["targetInfos"] if each["type"] == "page"]

    def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._socket.send(json.dumps(message))
        while True:
            told = json.loads(self._socket.recv(ANSWER_SECONDS))
            if told.get("id") == self._number:
                if "error" in told:
                    raise Refused(told["error"])
                return told["result"]
            self._note(told.get("method", ""), told.get("params", {}))

    def _note(self, method: str, told: dict[str, Any]) -> None:
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])
        elif method == "Runtime.consoleAPICalled":
            self.said.append(str([each.get("value") for each in told["args"]]))
        elif method == "Runtime.exceptionThrown":
            self.said.append(json.dumps(told["exceptionDetails"])[:500])
        elif method == "Log.entryAdded":
            self.said.append(f"{told['entry']['text']} {told['entry'].get('url', '')}")

    def _end(self) -> None:
        self._closing.close()
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
