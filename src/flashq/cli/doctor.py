"""``flashq doctor``: whether a storage is sound. Needs no server, and wants none to be running on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from flashq.cli import exits
from flashq.cli.reach import Local, Misconfigured, Nothing, Wishes
from flashq.cli.settings import configured
from flashq.cli.show import Show
from flashq.config import Config
from flashq.errors import StorageError
from flashq.server.clock import now
from flashq.server.doctor import Finding, examine
from flashq.storage.open import reading_for
from flashq.storage.reading import Reading, StorageInUse, StorageMissing

SOUND: Final = 0
DAMAGED: Final = 1

_EPILOG: Final = """\b
Exit codes:
    0  sound
    1  damaged: a server would refuse to start on it, or would not have all that it should
    2  the command is wrong
    3  in use by a server, so that it cannot be looked at
    4  there is no storage
"""


class InUse(click.ClickException):
    """A server has the storage that was to be looked at."""

    exit_code = exits.REFUSED
    word = "in_use"


class Broken(click.ClickException):
    """The storage cannot be read, or cannot be used for what was asked."""

    exit_code = exits.FAILED
    word = "storage_error"


@click.command(cls=Local, epilog=_EPILOG)
@click.option("--data-dir", help="Folder of the database; flashq-data unless asked otherwise.")
@click.option("--database-url", help="sqlite:///PATH or postgres://...; else flashq.db in that folder.")
@click.pass_obj
def doctor(wishes: Wishes, /, **given: Any) -> int:  # noqa: ANN401  # one word of the environment each
    r"""Check a data folder or database while no server uses it. Nothing in it is changed.

    \b
    Examples:
      flashq doctor
      flashq doctor --data-dir ./flashq-data
      flashq doctor --json | jq '.findings[] | select(.ok | not)'
    """
    findings: list[Finding] = []
    with opened(configured(**given)) as reading:
        for finding in examine(reading, now()):
            findings.append(finding)
            if not wishes.json:
                wishes.show.text(f"{'ok    ' if finding.ok else 'WRONG '} {finding.check}: {finding.detail}")
    return _conclude(wishes.show, findings)


def _conclude(show: Show, findings: list[Finding]) -> int:
    wrong = sum(not finding.ok for finding in findings)
    verdict = "sound" if not wrong else f"damaged: {wrong} findings"
    show.done(verdict, sound=not wrong, findings=findings)
    return DAMAGED if wrong else SOUND


@contextmanager
def opened(config: Config) -> Iterator[Reading]:
    """The storage of a server, to be looked at.

    Args:
        config: the server's.

    Raises:
        Misconfigured: it names nothing that can be looked at.
        InUse, Nothing, Broken: while it is looked at: a server has it; there is none; it is damaged.
    """
    try:
        reading = reading_for(config.storage_url, Path(config.data_dir))
    except ValueError as error:
        raise Misconfigured(str(error)) from None
    try:
        yield reading
    except StorageInUse as error:
        raise InUse(str(error)) from None
    except StorageMissing as error:
        raise Nothing(str(error)) from None
    except StorageError as error:
        raise Broken(str(error)) from None
    finally:
        reading.close()
