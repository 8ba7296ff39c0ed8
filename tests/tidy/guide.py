"""Plays a page of documentation: its files are written, its programs and commands run, its outputs compared.

The rules for those who write pages stand at the top of test_guides.py. Programs of one page share one interpreter in a
process of its own, as if the reader typed them one after the other; everything happens in one folder.
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import IO, Final, NamedTuple

import pytest

BLOCK_SECONDS: Final = 60
"""How long one block may take: many times what a reader would wait for."""

STAYING: Final = re.compile(r"flashq worker\b(?!.*--(?:help|burst))|.*&\s*$")
"""Commands that run until they are told to stop: they are left running until the end of the page."""

SKIPPED: Final = re.compile(
    r"flashq serve\b|(?:python3? -m )?pip install\b|(?:uv|poetry) add\b|source |export FLASHQ_URL"
)
"""Commands that are true but not repeated: the page has its server, and everything is installed."""

PYTEST: Final = (
    *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"),
    *("--disable-plugin-autoload", "-p", "flashq", "-p", "asyncio"),
    *("-o", "asyncio_mode=auto", "-o", "asyncio_default_fixture_loop_scope=function"),
)
"""How a page's tests are run. Other plugins that are installed here are not the page's, and take seconds to load."""

DEVELOPING: Final = re.compile(r"flashq dev\b")
"""A server and a worker in one command: the page has its server, so it stands for the worker."""

CURL: Final = Path(__file__).parents[1] / "fakes" / "curl.py"

_NAME: Final = re.compile(r"# ([\w./-]+\.\w+)\n")
_NOT_RUN: Final = re.compile(r"<!-- not run: \S.* -->")

_INTERPRETER: Final = """
import ast, asyncio, builtins, inspect, json, os, sys, traceback
answers = os.fdopen(int(sys.argv[1]), "w")
names = {"__name__": "__main__"}
with asyncio.Runner() as runner:
    for line in sys.stdin:
        name, source = json.loads(line)
        failed = False
        try:
            code = compile(source, name, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if code.co_flags & inspect.CO_COROUTINE:
                async def play():
                    await eval(code, names)
                runner.run(play())
            else:
                exec(code, names)
        except BaseException:
            traceback.print_exc()
            failed = True
        sys.stdout.flush()
        sys.stderr.flush()
        answers.write(json.dumps(failed) + "\\n")
        answers.flush()
"""


class Block(NamedTuple):
    """One fenced block.

    Attributes:
        kind: the word behind the fence.
        body: what stands in it.
        line: where it begins, for messages.
        name: of the file that it is, or empty.
        run: False where the page says why not.
    """

    kind: str
    body: str
    line: int
    name: str
    run: bool


def blocks(text: str) -> list[Block]:
    """The fenced blocks of a page, in order."""
    found = []
    lines = text.splitlines(keepends=True)
    opened = None
    for place, line in enumerate(lines):
        if not line.startswith("```"):
            continue
        if opened is None:
            opened = place
            continue
        body = "".join(lines[opened + 1 : place])
        named = _NAME.match(body)
        excused = opened > 0 and _NOT_RUN.fullmatch(lines[opened - 1].strip()) is not None
        kind = lines[opened][3:].strip()
        found.append(Block(kind, body, opened + 1, named[1] if named else "", not excused))
        opened = None
    return found


def runs(block: Block) -> bool:
    """Whether a block is one that is played."""
    return block.run and (block.kind in ("python", "shell") or bool(block.name))


class Stage:
    """Where one page is played: a folder, a server's ports, an interpreter, and what was left running."""

    def __init__(self, folder: Path, port: int, page: str, http_port: int = 0) -> None:
        self._folder = folder
        self._ports = {"6789": str(port), "6790": str(http_port)}
        self._page = page
        self._staying: list[subprocess.Popen[bytes]] = []
        self._interpreter: _Interpreter | None = None
        bin_folder = str(Path(sys.executable).parent)
        self._environment = {
            "PATH": os.pathsep.join((bin_folder, os.environ.get("PATH", ""), str(_stand_ins(folder)))),
            "HOME": str(folder),
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            "PYTHONWARNINGS": "error,ignore::ResourceWarning",
            "FLASHQ_URL": f"flashq://127.0.0.1:{port}",
        }

    def __enter__(self) -> "Stage":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._interpreter is not None:
            self._interpreter.close()
        for process in self._staying:
            _end(process)

    def play(self, page: list[Block]) -> None:
        """Play the blocks; fails with the place in the page and what was printed."""
        printed = ""
        for block in page:
            if block.kind == "output" and block.run:
                self._compare(block, printed)
            elif runs(block):
                printed = self._play(block)

    def _play(self, block: Block) -> str:
        body = re.sub("6789|6790", lambda found: self._ports[found[0]], block.body)
        if block.name:
            path = self._folder / block.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
            if path.suffix != ".py":
                return ""
            if path.name.startswith("test_"):
                return self._run(block, [*PYTEST, block.name])
            compile(body, f"{self._page}:{block.line}", "exec", dont_inherit=True)
            return ""
        if block.kind == "python":
            return self._program(block, body)
        return "".join(self._command(block, line) for line in _commands(body))

    def _program(self, block: Block, body: str) -> str:
        if self._interpreter is None:
            self._interpreter = _Interpreter(self._folder, self._environment)
        failed, printed = self._interpreter.run(f"{self._page}:{block.line}", body)
        if failed:
            self._fail(block, printed)
        return printed

    def _command(self, block: Block, command: str) -> str:
        if SKIPPED.match(command):
            return ""
        command = DEVELOPING.sub("flashq worker", command)
        if STAYING.match(command):
            self._stay(command.rstrip("& "))
            return ""
        return self._run(block, ["bash", "-c", command])

    def _run(self, block: Block, command: list[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=BLOCK_SECONDS,
        )
        if done.returncode != 0:
            self._fail(block, f"{command[-1]}: exit code {done.returncode}\n{done.stdout}")
        return done.stdout

    def _stay(self, command: str) -> None:
        log = (self._folder / f"left-running-{len(self._staying)}.log").open("wb")
        with log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {command}"],
                cwd=self._folder,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._staying.append(process)

    def _compare(self, block: Block, printed: str) -> None:
        wanted = [re.escape(line.rstrip()).replace("…", ".*") for line in block.body.strip().splitlines()]
        seen = "\n".join(line.rstrip() for line in printed.strip().splitlines())
        if not re.fullmatch("\n".join(wanted), seen, re.DOTALL):
            self._fail(block, f"the page shows\n{block.body}\nbut this was printed:\n{seen}")

    def _fail(self, block: Block, why: str) -> None:
        logs = [path.read_text(errors="replace") for path in sorted(self._folder.glob("left-running-*.log"))]
        pytest.fail("\n".join((f"{self._page}:{block.line}: {why}", *logs)), pytrace=False)


class _Interpreter:
    """One Python process to which programs are given one after the other."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        answers, theirs = os.pipe()
        self._printed = (folder / "printed.log").open("w+b")
        self._read = 0
        self._process = subprocess.Popen(
            [sys.executable, "-c", _INTERPRETER, str(theirs)],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=self._printed,
            stderr=subprocess.STDOUT,
            pass_fds=(theirs,),
        )
        os.close(theirs)
        self._answers: IO[str] = os.fdopen(answers)

    def run(self, name: str, source: str) -> tuple[bool, str]:
        """Run one program; whether it failed, and what it printed."""
        assert self._process.stdin is not None
        alarm = threading.Timer(BLOCK_SECONDS, self._process.kill)  # ends the reading below
        alarm.start()
        try:
            self._process.stdin.write(json.dumps([name, source]).encode() + b"\n")
            self._process.stdin.flush()
            answer = self._answers.readline()
        finally:
            alarm.cancel()
        self._printed.seek(self._read)
        printed = self._printed.read().decode(errors="replace")
        self._read = self._printed.tell()
        if not answer:
            return True, printed + f"\nthe interpreter ended: within {BLOCK_SECONDS} s a program must end by itself"
        return json.loads(answer), printed

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._answers.close()
        self._printed.close()


def _stand_ins(folder: Path) -> Path:
    """A folder with commands that the pages use and a machine may not have; it is looked at last."""
    stand_ins = folder / ".stand-ins"
    stand_ins.mkdir()
    curl = stand_ins / "curl"
    curl.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{CURL}" "$@"\n', encoding="utf-8")
    curl.chmod(0o755)
    return stand_ins


def _commands(body: str) -> list[str]:
    """The commands of a shell block: lines, joined where a backslash ends one; a `$ ` before them is no part."""
    joined = body.replace("\\\n", " ")
    lines = [line.strip().removeprefix("$ ") for line in joined.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def _end(process: "subprocess.Popen[bytes]") -> None:
    """End what was left running, and its children with it."""
    for number, patience in ((signal.SIGTERM, 5.0), (signal.SIGKILL, None)):
        if process.poll() is None:
            os.killpg(process.pid, number)
        try:
            process.wait(patience)
        except subprocess.TimeoutExpired:
            continue
        return
