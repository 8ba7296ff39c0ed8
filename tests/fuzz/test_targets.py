"""Every target reads its seeds and the kept inputs, without a fuzzer: what once was found to matter still holds."""

import pytest
from tests.fuzz.corpus import FOLDER, MAX_KEPT, MAX_KEPT_BYTES, begin_with, kept
from tests.fuzz.endings import refused
from tests.fuzz.targets import NAMES, load

LEAST_ENDINGS = 3
"""Seeds of which all ended alike would tell nothing about the reader."""


@pytest.mark.parametrize("name", NAMES)
def test_nothing_is_wrong_with_what_is_known(name: str) -> None:
    """No seed and no kept input is a finding, and they end in several ways."""
    read = load(name).read
    assert len({read(data) for data in begin_with(name)}) >= LEAST_ENDINGS


def test_the_corpus_is_small() -> None:
    """Few inputs and short ones, of targets that there are."""
    assert {path.stem for path in FOLDER.iterdir()} <= set(NAMES)
    for name in NAMES:
        assert len(kept(name)) <= MAX_KEPT
        assert max(map(len, kept(name)), default=0) <= MAX_KEPT_BYTES


def test_sentences_that_say_the_same_are_equal() -> None:
    """What is quoted, counted or odd does not make another ending; other words and other members do."""
    same = {refused(ValueError(f"not a size: '{text}' of {len(text)}")) for text in ("a", "it's 5", "ü" * 9)}
    assert same == {"ValueError: not a size: _ of _"}
    assert refused(ValueError("Expected `int` - at `$.ids[7]`")) == refused(
        ValueError("Expected `int` - at `$.ids[8]`")
    )
    assert refused(ValueError("Expected `int` - at `$.ids`")) != refused(ValueError("Expected `int` - at `$.id`"))
