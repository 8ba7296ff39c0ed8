"""The program ``flashq``: its verbs put together, and every way a verb may end turned into a line and an exit code.

Nobody who types a command should meet a traceback: an error that a user can cause is told in one line that says what
is wrong. What is left over is a fault of the program and may look like one.
"""

import sys
from importlib import import_module
from typing import Any, Final

import click

from flashq import __version__
from flashq.cli import exits
from flashq.cli.audit import audit, history
from flashq.cli.bench import bench
from flashq.cli.cron import cron
from flashq.cli.deadletters import dlq
from flashq.cli.explain import explain
from flashq.cli.flow import flow
from flashq.cli.jobs import jobs, pull, wait
from flashq.cli.push import push
from flashq.cli.queues import queues
from flashq.cli.reach import Interrupted, Misconfigured, Noun, Wishes
from flashq.cli.server import backup, server
from flashq.cli.show import give_up_output
from flashq.cli.token import token
from flashq.cli.watch import events, metrics, ping, stats, workers
from flashq.cli.webhook import webhook
from flashq.errors import FlashQError

_LATE: Final = {
    "serve": "serve.serve",
    "worker": "worker.worker",
    "dev": "dev.dev",
    "doctor": "doctor.doctor",
    "export": "dump.export",
    "import": "dump.import_",
}
"""The verbs that are loaded when they are asked for: where in `flashq.cli` each stands."""

_EPILOG: Final = "\b\nExit codes:\n" + "\n".join(f"  {code:3}  {text}" for code, text in exits.LEGEND.items())


class Program(Noun):
    """The whole command line.

    Some verbs are loaded only when they are asked for: ``serve`` and those that read a storage need the server's
    packages, which a machine with workers alone has not, and loading them would cost every other verb as much time as
    its work.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's own signature
        """The verbs, those that run beside a server or are one first."""
        return [*_LATE, *(name for name in self.commands)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A verb by its name."""
        return _late(cmd_name) if cmd_name in _LATE else super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:  # noqa: ANN401
        """Run a verb. Ctrl-C is told as everything else is; click would put an empty line before it."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise Interrupted("interrupted") from error

    def main(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401  # click's own signature
        """Run a command line and exit."""
        wishes = Wishes()
        kwargs |= {"standalone_mode": False, "obj": wishes}
        try:
            code = super().main(*args, **kwargs)
            sys.stdout.flush()
        except (click.ClickException, click.Abort, FlashQError, OSError, UnicodeError) as error:
            code = _tell(wishes, error)
            if isinstance(error, OSError):
                give_up_output()
        sys.exit(code if isinstance(code, int) else exits.OK)


def _tell(wishes: Wishes, error: Exception) -> int:
    """Say what went wrong; gives the exit code."""
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return exits.USAGE
    sentence, word, code = _explain(error)
    notes = [*getattr(error, "__notes__", ()), *getattr(error.__cause__, "__notes__", ())]
    wishes.show.complain("; ".join([sentence, *notes]), word, refusal=code == exits.REFUSED)
    return code


_WORDS: Final = {
    exits.FAILED: "configuration",
    exits.USAGE: "usage",
    exits.NOTHING: "nothing",
    exits.INTERRUPTED: "interrupted",
}
"""For programs, the code of an error that did not come from the server."""


def _explain(error: Exception) -> tuple[str, str, int]:
    """An error as a sentence, a word for programs, and an exit code."""
    match error:
        case click.ClickException():
            word = getattr(error, "word", None) or _WORDS[error.exit_code]
            return f"{error.format_message().rstrip('.')}{_hint(error)}", word, error.exit_code
        case click.Abort():  # at a question
            return "interrupted", _WORDS[exits.INTERRUPTED], exits.INTERRUPTED
        case FlashQError():
            return str(error), error.code, exits.exit_code(error)
        case UnicodeError():
            return "arguments must be UTF-8", "usage", exits.USAGE
    return str(error), "os_error", exits.FAILED


def _hint(error: click.ClickException) -> str:
    """Where to look, if the command was not understood; a value that is wrong is told where it stands."""
    if isinstance(error, click.BadParameter) and not isinstance(error, click.MissingParameter):
        return ""
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context is not None else ""


@click.group(cls=Program, epilog=_EPILOG)
@click.version_option(__version__, prog_name="flashq")
def program() -> None:
    r"""A job queue server that needs nothing else, and everything to look after it.

    \b
    Example:
      flashq serve                                 # in one terminal
      flashq push emails '{"to": "ada@example.org"}'   # in another
      flashq pull emails --ack

    The options below may also stand behind the verb.
    """


def _late(name: str) -> click.Command:
    try:
        module, _, attribute = _LATE[name].partition(".")
        command: click.Command = getattr(import_module(f"flashq.cli.{module}"), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("flashq"):
            raise
        return _missing(name, error.name)
    return command


def _missing(name: str, package: str) -> click.Command:
    """What stands in for a verb where the packages that it needs are not installed."""

    def refuse(**_: object) -> None:
        raise Misconfigured(f"{package} is not installed: install flashq-server with its extra [server]")

    settings = {"ignore_unknown_options": True, "allow_extra_args": True}
    return click.Command(name, callback=refuse, context_settings=settings, help="(not installed)")


_VERBS = (
    *(ping, push, flow, pull, wait, explain, jobs, queues, dlq, cron, webhook),
    *(stats, metrics, workers, history, audit, events, server, backup, token, bench),
)
for _verb in _VERBS:
    program.add_command(_verb)
