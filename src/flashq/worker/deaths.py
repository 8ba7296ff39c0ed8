"""How a process ended, in words that a job's error, a log and a person can carry."""

import signal


def how(code: int) -> str:
    """A process's end.

    Args:
        code: the exit status, or a signal's number made negative, as `subprocess` gives it.
    """
    if code >= 0:
        return f"exited with status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name of its own
        name = f"signal {-code}"
    return f"killed by {name}"
