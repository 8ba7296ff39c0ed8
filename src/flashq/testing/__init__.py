"""Testing programs that use FlashQ: a server without sockets, threads or waiting, whose clock is moved by hand.

`LocalServer` is the server itself (engine, commands, storage and the protocol, each the real one) inside the test's
process; `LocalApp` puts an app on top of it, and `chaos` shows whether a task may run twice. `RunningServer` is
one with sockets, for what needs them. The pytest fixtures are in `flashq.pytest_plugin`.
"""

from flashq.testing.app import LocalApp
from flashq.testing.chaos import ChaosReport, chaos
from flashq.testing.drain import Ran, TaskFailed
from flashq.testing.enqueued import Enqueued
from flashq.testing.server import Clock, LocalServer
from flashq.testing.serving import RunningServer

__all__ = ["ChaosReport", "Clock", "Enqueued", "LocalApp", "LocalServer", "Ran", "RunningServer", "TaskFailed", "chaos"]
