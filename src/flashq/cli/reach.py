"""How a verb reaches a server: the three options that every verb has, and the client that they make.

``--url``, ``--token`` and ``--json`` may stand before or after the verb, since nobody remembers which; so they belong
to every command rather than to the program alone. They go into one `Wishes` object that all commands of a call share.
"""

from dataclasses import dataclass
from typing import Any, Final

import click

from flashq.cli import exits
from flashq.cli.show import Show
from flashq.client import FlashQ
from flashq.errors import BadRequest

CONNECT_TIMEOUT_MS: Final = 3_000
"""Shorter than a program's: somebody sits there and waits."""


@dataclass
class Wishes:
    """What the options ask for.

    Attributes:
        url: of the server; None leaves it to ``FLASHQ_URL``, else this machine.
        token: what to authenticate with; None: the URL's, if it has one.
        json: whether answers and errors are written for programs.
    """

    url: str | None = None
    token: str | None = None
    json: bool = False

    @property
    def show(self) -> Show:
        """Where the answer goes."""
        return Show(as_json=self.json)

    def client(self) -> FlashQ:
        """A client for the server that was asked for. It connects in its ``with`` statement.

        Raises:
            Misconfigured: the address or the token cannot be.
        """
        try:
            return FlashQ(self.url, token=self.token, connect_timeout_ms=CONNECT_TIMEOUT_MS)
        except BadRequest as error:
            raise Misconfigured(str(error).removeprefix("Invalid: ")) from None


class Misconfigured(click.ClickException):
    """Something around the command is wrong: its address, its token, its installation."""

    exit_code = exits.FAILED


class BadLine(click.ClickException):
    """A line of a file is not what it should be."""

    exit_code = exits.USAGE


class Interrupted(click.ClickException):
    """Somebody has pressed Ctrl-C."""

    exit_code = exits.INTERRUPTED


class Nothing(click.ClickException):
    """What was asked for is not there."""

    exit_code = exits.NOTHING


def _note(context: click.Context, option: click.Parameter, value: Any) -> None:  # noqa: ANN401  # of any option
    if value:
        setattr(context.ensure_object(Wishes), str(option.name), value)
    elif value == "":
        raise click.BadParameter("must not be empty", context, option)


def _option(name: str, **settings: Any) -> click.Option:  # noqa: ANN401  # click's own
    """One option of every command. Eager, so that even the error of a wrong argument knows about ``--json``."""
    return click.Option([name], expose_value=False, is_eager=True, callback=_note, **settings)


def _address_options() -> list[click.Parameter]:
    address = (
        "flashq[s]://[TOKEN@]HOST[:PORT], http[s]://... or flashq+unix:///PATH; default $FLASHQ_URL, else this machine."
    )
    warning = "Authenticate with this. Other users of the machine can see it; a token in $FLASHQ_URL they cannot."
    return [_option("--url", help=address), _option("--token", help=warning)]


def _json_option() -> click.Parameter:
    return _option("--json", is_flag=True, help="Write one JSON document instead of text for people.")


def _kept_apart(help: str | None) -> str | None:
    r"""A docstring with the mark that keeps click from joining the lines of an example.

    The mark is a backspace, which a raw docstring spells as the two characters ``\b``.
    """
    return None if help is None else help.replace("\\b\n", "\b\n")


class Local(click.Command):
    """A command that needs no server."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  # click's own, passed on
        super().__init__(*args, **kwargs)
        self.help = _kept_apart(self.help)
        self.params.append(_json_option())


class Verb(Local):
    """A command that speaks to a server."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.params[-1:-1] = _address_options()


class Noun(click.Group):
    """A group of verbs: ``flashq queues pause``."""

    command_class = Verb

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.help = _kept_apart(self.help)
        self.params += [*_address_options(), _json_option()]


class LocalNoun(click.Group):
    """A group of commands that need no server."""

    command_class = Local

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.help = _kept_apart(self.help)
        self.params.append(_json_option())
