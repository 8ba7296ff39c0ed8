"""Fuzzing: whatever reads bytes from outside is fed what nobody would write, guided by the code it reaches.

Each module of `tests.fuzz.targets` names one reader, what it may raise, and a second way to the same answer where
there is one. `python -m tests.fuzz` (`make fuzz`) lets libFuzzer, by way of atheris, invent inputs for each of them. It
begins with what the documentation and the tests contain, and with the inputs in ``corpus/`` that earlier runs found to
reach further. An uncaught exception, an input that takes too long and memory that grows are findings.

Coverage of Python lines alone is blind here: much of the reading is done by a library in C. So a target also says *how*
an input ended (which command, which complaint), and an ending not seen before counts as new code.

A finding becomes a plain unit test of the reader, beside the cure; the corpus only helps to find.
"""
