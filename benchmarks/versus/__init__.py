"""FlashQ beside other job queues for Python: the same work, on the same machine, in the same run.

`python -m benchmarks.versus` installs the others from PyPI, each into a virtual environment of its own below
``.bench/``, starts a Redis for them and a server for FlashQ, and asks all of them the same questions in turns.

The modules of `benchmarks.versus.apps` and `benchmarks.versus.driver` run inside those environments, so they import
nothing of ours but each other, and `driver` needs the standard library only.
"""
