"""Measuring FlashQ: ``make bench``, or ``python -m benchmarks.throughput`` for one question.

Each module asks one question and yields `benchmarks.report.Result` objects; only `benchmarks.report` prints. Servers
are the real program in a process of its own. The load comes from raw sockets with prepared lines and not from the
client library, so that the server is the narrow place (the one exception is the round trip of the plain client, which
is the question there). On machines with two cores or more the server has the first to itself and the load the second.
"""
