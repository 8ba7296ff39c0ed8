"""``flashq worker``: runs the jobs of an app.

One process by itself, or (``--processes``, ``--reload``) one that looks after others and runs no code of the app.
"""

import logging
import os
import socket
import sys
from pathlib import Path
from traceback import format_exception
from typing import Any, Final

import click
from msgspec import Struct

from flashq import App, AsyncFlashQ, FlashQ
from flashq.cli import exits
from flashq.cli.reach import Misconfigured, Verb, Wishes
from flashq.errors import BadRequest
from flashq.logs import FORMATS, LEVELS, set_up
from flashq.worker import supervisor
from flashq.worker.banner import banner
from flashq.worker.loop import run
from flashq.worker.target import BadTarget, load
from flashq.worker.worker import KINDS, STOP_TIMEOUT_MS, Worker

log = logging.getLogger("flashq.worker")

_STDIN: Final = 0
_MS: Final = click.IntRange(0)

_EPILOG: Final = "\b\nExit codes:\n" + "\n".join(
    (
        "    0  stopped by SIGTERM or Ctrl-C, or by --max-jobs, --max-memory, --burst; what did not end went back",
        "    1  could not start: no such app, its module fails, the server does not let it in",
        "    2  the command is wrong",
        "    3  refused by the server: a queue's name, a schedule",
        "  130  stopped at once by a second signal; running jobs were cancelled and given back",
    )
)


class Options(Struct, kw_only=True):
    """What the options of ``flashq worker`` say; None: its default."""

    queue: tuple[str, ...] = ()
    concurrency: int | None = None
    executor: str = "async"
    processes: int = 1
    reload: bool = False
    prefetch: int | None = None
    stop_timeout: int = STOP_TIMEOUT_MS
    max_jobs: int | None = None
    max_memory: int | None = None
    burst: bool = False
    name: str | None = None
    supervised: bool = False
    log_level: str = "info"
    log_format: str = "text"

    @property
    def queues(self) -> list[str] | None:
        """The queues, however they were given: one option each, or several with commas."""
        return [name.strip() for given in self.queue for name in given.split(",") if name.strip()] or None


@click.command(cls=Verb, epilog=_EPILOG)
@click.argument("target", metavar="MODULE:APP")
@click.option("-q", "--queue", multiple=True, help="Pull from these, first come first; default: those of the tasks.")
@click.option(
    "-c", "--concurrency", type=click.IntRange(1), help="Jobs at once: async 100, thread 4 a core, process 1 a core."
)
@click.option(
    "--executor",
    type=click.Choice(KINDS),
    default="async",
    help="Where plain functions run: in threads beside the loop (async, the default), with coroutines in threads too "
    "(thread), or each job in a child process (process).",
)
@click.option("--processes", type=click.IntRange(1), default=1, help="Run so many workers; one that dies is replaced.")
@click.option("--reload", is_flag=True, help="Start anew when a source file below the current folder changes.")
@click.option("--prefetch", type=click.IntRange(0), help="Jobs taken ahead; default: what begins within 100 ms.")
@click.option(
    "--stop-timeout",
    type=click.IntRange(0),
    default=STOP_TIMEOUT_MS,
    help="ms that running jobs have at a stop; 30000.",
)
@click.option("--max-jobs", type=click.IntRange(1), help="Leave after so many; with process: replace the child.")
@click.option("--max-memory", type=click.IntRange(1), help="MiB; leave above; with process: replace the child.")
@click.option(
    "--burst", is_flag=True, help="Leave when no job is ready and none runs; delayed ones are not waited for."
)
@click.option("--name", help="Unlike any other worker's; default: host, process and chance.")
@click.option(
    "--supervised", is_flag=True, hidden=True, help="Stop at the end of stdin: whoever started this has gone."
)
@click.option("--log-level", type=click.Choice(LEVELS), default="info", help="debug tells of each job that completed.")
@click.option("--log-format", type=click.Choice(FORMATS), default="text", help="json: one object a line.")
@click.pass_obj
def worker(wishes: Wishes, /, target: str, **given: Any) -> int:  # noqa: ANN401  # one word of `Options` each
    r"""Run the jobs of an app until SIGTERM or Ctrl-C.

    Running jobs may finish then; what was not begun goes back.

    \b
    Examples:
      flashq worker shop.tasks:app
      flashq worker shop.tasks:app -q emails,default -c 32
      flashq worker shop.tasks:app --executor process --max-jobs 1000
    """
    options = Options(**given)
    set_up(options.log_level, options.log_format)
    if options.processes > 1 or options.reload:
        if options.burst:
            raise click.UsageError("--burst is for one worker: it cannot stand with --processes or --reload")
        return _supervise(wishes, target, options)
    app = _load(wishes, target)
    one = _make(app, target, options)
    _introduce(target, one, options)
    return exits.OK if run(one, leash=_STDIN if options.supervised else None) else exits.INTERRUPTED


def _load(wishes: Wishes, target: str) -> App:
    """The app, connected as the options say."""
    try:
        app = load(target)
    except BadTarget as error:
        if error.__cause__ is not None:
            click.echo("".join(format_exception(error.__cause__)), err=True)
        raise
    if wishes.url is not None or wishes.token is not None:
        url, token = wishes.url, wishes.token
        app.connect_with(lambda: FlashQ(url, token=token), lambda: AsyncFlashQ(url, token=token))
    return app


def _make(app: App, target: str, options: Options) -> Worker:
    if not app.tasks:
        raise Misconfigured(f"{target} has no tasks: nothing could be run")
    unknown = [name for name in options.queues or () if name not in app.queues]
    if unknown:
        log.warning("no task of the app has its jobs in %s", ", ".join(unknown))
    try:
        return Worker(
            app,
            queues=options.queues,
            concurrency=options.concurrency,
            executor=options.executor,  # type: ignore[arg-type]  # click has checked it
            prefetch=options.prefetch,
            stop_timeout_ms=options.stop_timeout,
            name=options.name,
            max_jobs=options.max_jobs,
            max_memory_mb=options.max_memory,
            target=target,
            burst=options.burst,
        )
    except BadRequest as error:
        raise click.UsageError(str(error).removeprefix("Invalid: ")) from None


def _introduce(target: str, one: Worker, options: Options) -> None:
    """Say what this worker is: for people as text, for programs as one line of the log."""
    if options.log_format == "json":
        facts = {"worker": one.name, "queues": one.queues, "executor": one.executor, "concurrency": one.concurrency}
        log.info("starting", extra={"flashq": facts})
        return
    said = banner(
        [
            ("app", target),
            ("server", str(one.server)),
            ("queues", one.queues),
            ("tasks", sorted(one.app.tasks)),
            ("executor", f"{one.executor}, {one.concurrency} at once"),
            ("name", one.name),
            ("process", str(os.getpid())),
        ]
    )
    click.echo(said, err=True, nl=False)


def _supervise(wishes: Wishes, target: str, options: Options) -> int:
    return supervisor.run(
        [sys.executable, "-m", "flashq", "worker", target, *_words(wishes, options)],
        options.processes,
        name=options.name or f"{socket.gethostname()}-{os.getpid()}",
        # Only when a worker has died: this process runs no code of the app as long as it can do without.
        client=lambda: _load(wishes, target).new_aclient(),
        stop_timeout_ms=options.stop_timeout,
        reload_paths=[Path.cwd()] if options.reload else None,
    )


def _words(wishes: Wishes, options: Options) -> list[str]:
    """The options for each of several workers."""
    values = {
        "--concurrency": options.concurrency,
        "--executor": options.executor,
        "--prefetch": options.prefetch,
        "--stop-timeout": options.stop_timeout,
        "--max-jobs": options.max_jobs,
        "--max-memory": options.max_memory,
        "--log-level": options.log_level,
        "--log-format": options.log_format,
        "--url": wishes.url,
        "--token": wishes.token,
    }
    words = [f"{name}={value}" for name, value in values.items() if value is not None]
    return words + [f"--queue={name}" for name in options.queues or ()]
