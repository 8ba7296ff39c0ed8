"""The environment, DATABASE_URL included: settings or ConfigError, and no secret in what is said."""

from collections.abc import Iterator
from typing import Final

from tests.fuzz.endings import refused
from tests.fuzz.seeds import documented_words, literals

from flashq.config import VARIABLES, Config, ConfigError, from_environment
from flashq.storage.open import name_of, storage_for

WORDS: Final = (
    *(f"{name}=" for name in VARIABLES),
    *("\n", "on", "off", "full", "relaxed", "auto", "json", "text", "65535", "1_000", "sqlite:///", "memory://"),
    *("postgres://", "postgresql://", "@", ":", "::1", "*", ",", "?sslmode=", "%"),
)
MAX_BYTES: Final = 8_192
_SECRET: Final = "hush-hush"


def seeds() -> Iterator[bytes]:
    """Each variable with the values that the tests and the documentation know."""
    values = [
        text for text in literals("tests/unit/test_config.py", "tests/unit/storage/test_open.py") if b"\n" not in text
    ]
    for place, name in enumerate(VARIABLES):
        yield b"\n".join(name.encode() + b"=" + value for value in values[place :: len(VARIABLES)])
    yield from (word for word in documented_words("=") if word.split(b"=")[0].decode() in VARIABLES)
    yield from (b"DATABASE_URL=" + word for word in documented_words("sqlite:", "postgres", "memory:"))


def read(data: bytes) -> str:
    """One variable a line, the last of a name counts, as a process gets them: bytes that are no text are surrogates."""
    lines = data.decode("utf-8", "surrogateescape").replace("\0", "").split("\n")
    environment = dict(line.split("=", 1) for line in lines if "=" in line)
    environment["AUTH_TOKENS"] = f"{environment.get('AUTH_TOKENS', '')},{_SECRET}"
    try:
        config = from_environment(environment)
        config.beyond_loopback  # noqa: B018 - computed from what was given
    except ConfigError as error:
        assert _SECRET not in str(error), "a token is told"
        return refused(error)
    return f"{_storage(config)} with {len(environment.keys() & VARIABLES.keys())} variables"


def _storage(config: Config) -> str:
    scheme, mark, rest = config.storage_url.partition("://")
    endings = []
    for url in (config.storage_url, f"{scheme}{mark}user:{_SECRET}@{rest}"):
        try:
            storage = storage_for(url, durability=config.durability, steady_ms=lambda: 0)
            if storage is not None:
                storage.close()
            assert not url.startswith("postgres") or _SECRET not in name_of(url), "a password is shown"
            endings.append(type(storage).__name__)
        except ValueError as error:
            assert type(error) is ValueError, "another error than the declared one"
            assert "DATABASE_URL" in str(error), "it does not say which variable is wrong"
            assert _SECRET not in str(error), "a password is told"
            endings.append("refused")
    return " ".join(endings)
