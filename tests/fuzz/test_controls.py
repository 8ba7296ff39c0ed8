"""Does it find anything? Slips of the pen are made in a copy of the product, and the fuzzer has to notice."""

import importlib.util
import os
import shutil
from pathlib import Path

import pytest
from tests.fuzz.campaign import fuzz
from tests.fuzz.seeds import ROOT

SECONDS = 30
"""How long it may look for one bug; most are found at once."""

SLIPS = {
    "an exception that nobody declared": (
        "records", "storage/records.py", "(msgspec.MsgspecError, UnicodeDecodeError, RecursionError)",
        "msgspec.MsgspecError", "UnicodeDecodeError",
    ),
    "a wrong answer at the seam of two pieces": (
        "lines", "protocol/lines.py", "self._buffer += memoryview(data)[:end]", "self._buffer += data[: end - 1]",
        "other lines than those of the stream",
    ),
    "a token in a sentence": (
        "client_urls", "client/address.py", '("Invalid: the FlashQ URL cannot be read: ', '(f"Invalid: {url}: ',
        "a token is told",
    ),
    "more time than the length is worth": (
        "requests", "protocol/codec.py", "request: AnyRequest = decode_with(_decode, line)",
        "request: AnyRequest = decode_with(_decode, line); sum(range(8_000_000 * line.count(b'[]')))", "TooSlow",
    ),
    "memory that is kept": (
        "requests", "protocol/codec.py", "request: AnyRequest = decode_with(_decode, line)",
        "vars(decode_request).setdefault('', []).append(bytes(999)); request: AnyRequest = decode_with(_decode, line)",
        "Grown",
    ),
    "an address that leads inward": (
        "webhook_urls", "security/addresses.py", '"169.254.0.0/16",', "",
        "an address that is not public would be called",
    ),
}  # fmt: skip
"""What is wrong -> target, file, what stands there, what would stand there, what the finding says."""


@pytest.fixture(autouse=True)
def _fuzzer() -> None:
    if importlib.util.find_spec("atheris") is None:
        if os.environ.get("FLASHQ_REQUIRE_CHAOS"):
            pytest.fail("atheris is not installed")
        pytest.skip("atheris is not installed: it has packages for Linux on x86-64 only")


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize("slip", SLIPS)
def test_a_slip_is_found(slip: str, tmp_path: Path) -> None:
    """A bug of each kind that is looked for is found, and told as what it is."""
    name, file, right, wrong, told = SLIPS[slip]
    shutil.copytree(ROOT / "src" / "flashq", tmp_path / "flashq", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "flashq" / file
    text = source.read_text(encoding="utf-8")
    assert text.count(right) == 1, "the place of the slip is not there any more"
    source.write_text(text.replace(right, wrong), encoding="utf-8")
    assert told in fuzz(name, SECONDS, 1, tmp_path / "work", str(tmp_path)).finding
