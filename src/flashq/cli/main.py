"""The entry point: ``flashq <verb>``."""

import click

from flashq import __version__
from flashq.cli.serve import serve


@click.group()
@click.version_option(__version__, prog_name="flashq")
def main() -> None:
    """A job queue server that needs nothing else."""


main.add_command(serve)
