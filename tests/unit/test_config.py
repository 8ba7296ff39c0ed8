"""Unit tests of `flashq.config`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashq.config import VARIABLES, Config, ConfigError, from_environment

NUMBERS = {
    "PORT": (0, 65_535),
    "DEFAULT_MAX_ATTEMPTS": (0, 2**32 - 1),
    "DEFAULT_BACKOFF": (0, 10 * 365 * 24 * 3600 * 1000),
    "LEASE": (1_000, 10 * 365 * 24 * 3600 * 1000),
    "WORKER_SILENCE": (100, 10 * 365 * 24 * 3600 * 1000),
    "MAX_MEMORY": (1024 * 1024, 2**53),
    "AUDIT_KEEP_DAYS": (1, 36_500),
    "AUDIT_MAX_ROWS": (1, 2**53),
}
WORDS = {
    "DURABILITY": ("full", "relaxed"),
    "LOOP": ("auto", "uvloop", "asyncio"),
    "LOG_LEVEL": ("debug", "info", "warning", "error"),
    "LOG_FORMAT": ("text", "json"),
}


def test_an_empty_environment_is_safe() -> None:
    """The defaults: at home only, synced to disk, everything bounded."""
    assert from_environment({}) == Config()
    config = Config()
    assert (config.host, config.port, config.durability) == ("127.0.0.1", 6789, "full")
    assert (config.default_max_attempts, config.default_backoff, config.lease) == (3, 1_000, 30 * 60 * 1_000)
    assert (config.auth_tokens, config.unix_socket, config.max_memory) == ((), "", 1024**3)
    assert config.storage_url == "sqlite:///flashq-data/flashq.db"


def test_the_database_is_in_the_data_folder_unless_it_is_named() -> None:
    """DATA_DIR moves the default, DATABASE_URL replaces it."""
    assert from_environment({"DATA_DIR": "/x"}).storage_url == "sqlite:////x/flashq.db"
    assert from_environment({"DATA_DIR": "/x", "DATABASE_URL": "memory://"}).storage_url == "memory://"


@pytest.mark.parametrize(("name", "bounds"), NUMBERS.items())
def test_numbers(name: str, bounds: tuple[int, int]) -> None:
    """Both ends are fine; what is beyond them, or no number, is refused by the variable's name."""
    for value in bounds:
        assert getattr(from_environment({name: str(value)}), name.lower()) == value
    for wrong in (str(bounds[0] - 1), str(bounds[1] + 1), "", "x", "1.5", "1e3", "0x10", "1 2"):
        with pytest.raises(ConfigError, match=rf"^{name} must be "):
            from_environment({name: wrong})


@pytest.mark.parametrize(("name", "words"), WORDS.items())
def test_words(name: str, words: tuple[str, ...]) -> None:
    """Capitals and blanks around do not matter; another word is refused, with those that there are."""
    for word in words:
        assert getattr(from_environment({name: f" {word.upper()} "}), name.lower()) == word
    for wrong in ("", "none", f"{words[0]},{words[1]}"):
        with pytest.raises(ConfigError, match=rf"^{name} must be one of {', '.join(words)}, not "):
            from_environment({name: wrong})


@pytest.mark.parametrize("name", ["HOST", "DATA_DIR"])
def test_texts_that_must_say_something(name: str) -> None:
    """Set but empty is a slip, and a default in its place would hide it."""
    for wrong in ("", "  "):
        with pytest.raises(ConfigError, match=rf"^{name} is set but empty$"):
            from_environment({name: wrong})


def test_tokens() -> None:
    """Comma separated, blanks around do not matter; set without any is refused: it would let everybody in."""
    assert from_environment({"AUTH_TOKENS": " a b ,c,, "}).auth_tokens == ("a b", "c")
    for wrong in ("", " ", ",", " , ,"):
        with pytest.raises(ConfigError, match="AUTH_TOKENS"):
            from_environment({"AUTH_TOKENS": wrong})


def test_what_is_given_wins() -> None:
    """The command line overrides the environment; what it does not say it does not override."""
    config = from_environment({"PORT": "1", "HOST": "h"}, port=2, host=None, durability="relaxed")
    assert (config.port, config.host, config.durability) == (2, "h", "relaxed")


def test_the_environment_of_the_process_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an argument the real environment is read."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PORT", "1234")
    assert from_environment().port == 1234


def test_every_variable_is_a_setting() -> None:
    """The list that people read is the list that is read."""
    assert {name.lower() for name in VARIABLES} == set(Config.__struct_fields__)
    assert all(VARIABLES.values())


def test_settings_do_not_change() -> None:
    """Whoever holds them may rely on them."""
    with pytest.raises(AttributeError):
        Config().port = 1  # type: ignore[misc]


@given(st.sampled_from([*VARIABLES]), st.text(max_size=60))
def test_any_text_is_a_setting_or_a_clear_refusal(name: str, text: str) -> None:
    """Nothing but ConfigError, one short line, and never an echo of a secret."""
    said = ""
    try:
        from_environment({name: text})
    except ConfigError as error:
        said = str(error)
    assert not said or name in said
    assert "\n" not in said
    assert len(said) < 250
    if name in ("AUTH_TOKENS", "DATABASE_URL"):
        assert len(text.strip(", ")) < 10 or text not in said
