"""The settings of a server, for the verbs that are one or work on what one has kept."""

from typing import Any

from flashq.cli.reach import Misconfigured
from flashq.config import Config, ConfigError, from_environment


def configured(**given: Any) -> Config:  # noqa: ANN401  # one word of the environment each
    """What the options and the environment say together.

    Args:
        given: as the options say; None leaves a setting to the environment.

    Raises:
        Misconfigured: one of them cannot be.
    """
    try:
        return from_environment(**given)
    except ConfigError as error:
        raise Misconfigured(str(error)) from None
