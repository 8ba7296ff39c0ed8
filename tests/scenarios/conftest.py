"""The option that writes down what the stories say now."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--rewrite``: put the answers of today into the files, to be read in the diff and committed or not."""
    parser.addoption("--rewrite", action="store_true", help="rewrite the expected answers of the scenarios")
