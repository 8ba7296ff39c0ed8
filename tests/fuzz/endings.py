"""How readings end, in few enough words that each of them is worth looking for."""

import re
from typing import Final

_QUOTED: Final = re.compile(r"['\"].*['\"]|['\"].*|(?<=unknown field ).*", re.DOTALL)
"""From the first mark to the last, because what is quoted holds such marks as well."""

_PLAIN: Final = re.compile(r"[A-Za-z]+[:,;.]?|`[\w$.\[\] |]*`[:,;.]?")
"""A word of ours, or a name of a member or type as the library marks it; anything else came with the input."""

_NUMBER: Final = re.compile(r"\[\d+\]")

_SOME: Final = re.compile(r"_(\s+_)+")


def refused(error: Exception) -> str:
    """A refusal without what is particular to this input, so that sentences that say the same are equal."""
    words = _NUMBER.sub("[]", _QUOTED.sub("_", str(error))).split()
    said = " ".join(word if _PLAIN.fullmatch(word) else "_" for word in words)
    return f"{type(error).__name__}: {_SOME.sub('_', said)}"
