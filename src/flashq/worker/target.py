"""Finding an app by the words of a command line: ``module:attribute``.

The worker and each of its child processes look it up in the same way, so a target that works in one works in all.
"""

import sys
from importlib import import_module
from pathlib import Path
from typing import Final

from flashq.errors import FlashQError
from flashq.tasks import App

USUAL_NAME: Final = "app"
"""The attribute when a target names only a module."""


class BadTarget(FlashQError):
    """There is no such app. The cause is the exception of the user's own code, if that is what went wrong."""


def load(target: str) -> App:
    """Import an app; modules of the current folder are found as well.

    Args:
        target: ``package.module:attribute``; ``package.module`` alone means its ``app``.

    Raises:
        BadTarget: no such module, it cannot be imported, or the attribute is missing or is not an `App`.
    """
    module_name, _, attribute = target.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    found: object = _imported(module_name)
    for name in (attribute or USUAL_NAME).split("."):
        found = getattr(found, name, None)
        if found is None:
            raise BadTarget(f"module {module_name!r} has no app called {attribute or USUAL_NAME!r}")
    if not isinstance(found, App):
        raise BadTarget(f"{target!r} is not a flashq.App but of type {type(found).__name__!r}")
    return found


def _imported(name: str) -> object:
    if not all(part.isidentifier() for part in name.split(".")):
        raise BadTarget(f"{name!r} is not the name of a module: write package.module:attribute")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(error.name + ".")):
            raise BadTarget(f"there is no module {error.name!r} on the path or in {Path.cwd()}") from None
        raise BadTarget(f"module {name!r} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:
        raise BadTarget(f"module {name!r} cannot be imported: {type(error).__name__}: {error}") from error
