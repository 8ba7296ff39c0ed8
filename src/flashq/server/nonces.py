"""Unguessable words for tokens."""

import secrets
from typing import Final


class Nonces:
    """Draws words from the system in stock: one by one they would cost more than a pull."""

    _WORD: Final = 16
    _STOCK: Final = 512

    def __init__(self) -> None:
        self._words: list[str] = []

    def __call__(self) -> str:
        """A word of 64 random bits."""
        if not self._words:
            text = secrets.token_hex(self._STOCK * self._WORD // 2)
            self._words = [text[at : at + self._WORD] for at in range(0, len(text), self._WORD)]
        return self._words.pop()
