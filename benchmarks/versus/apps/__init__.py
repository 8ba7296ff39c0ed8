"""The same three tasks, written for each system the way its own documentation writes them.

Each module has the same surface, which is all that `benchmarks.versus.driver` knows:

- ``push()`` enqueues one task that does nothing and whose result nobody wants,
- ``mark(name)`` enqueues the task that notes the time, see `benchmarks.versus.driver.note_time`,
- ``trip(number)`` enqueues the task that gives back its argument, waits for the result and returns it,
- ``connect()`` and ``disconnect()``, where the system wants them.

They are plain functions where the system has a plain client, and coroutine functions where it has only an asynchronous
one. Where the broker is stands in the environment variable ``VERSUS_BROKER``.
"""
