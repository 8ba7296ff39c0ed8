"""Testing programs that use FlashQ: a server without sockets, threads or waiting, whose clock is moved by hand.

`LocalServer` is the server itself (engine, commands, storage and the protocol, each the real one) inside the test's
process. The pytest fixtures in `flashq.pytest_plugin` put an app on top of it.
"""

from flashq.testing.server import LocalServer

__all__ = ["LocalServer"]
