"""The tree of errors: codes that programs match on, statuses, and the way back from an answer."""

import pytest

from flashq import errors
from flashq.errors import BY_CODE, BadRequest, CallTimeout, ConnectionLost, Duplicate, FlashQError

# The wire contract: every code with its HTTP status.
CONTRACT = {
    "bad_request": 400,
    "too_large": 413,
    "unauthorized": 401,
    "forbidden": 403,
    "not_found": 404,
    "not_active": 409,
    "stale_attempt": 409,
    "duplicate": 409,
    "overloaded": 429,
    "limit_reached": 429,
    "shutting_down": 503,
    "storage_error": 503,
    "storage_full": 507,
}

TREE = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, FlashQError)]


def test_codes_and_statuses_are_those_of_the_contract() -> None:
    """No code more, none less."""
    assert {code: kind.http_status for code, kind in BY_CODE.items()} == CONTRACT


@pytest.mark.parametrize("kind", TREE, ids=[kind.__name__ for kind in TREE])
def test_every_error_is_drawn_in_the_tree(kind: type[FlashQError]) -> None:
    """The drawing at the top of the file names each of them with its code."""
    assert errors.__doc__ is not None
    (line,) = [line for line in errors.__doc__.splitlines() if kind.__name__ in line.split()] or [""]
    assert kind.__name__ == "FlashQError" or kind.code in line.split()


def test_codes_are_unique() -> None:
    """An answer leads back to exactly one error."""
    assert len({kind.code for kind in TREE}) == len(TREE)
    assert all(BY_CODE[code].code == code for code in BY_CODE)


CLIENT_SIDE = {FlashQError, ConnectionLost, CallTimeout, errors.JobFailed, errors.JobLost}


def test_what_a_server_never_answers() -> None:
    """Errors of the client's side, and those that are bugs, have no way back."""
    assert {kind for kind in TREE if kind.code not in BY_CODE} == CLIENT_SIDE


@pytest.mark.parametrize(
    ("kind", "parent"),
    [("TooLarge", BadRequest), ("StorageFull", errors.StorageError), ("NotActive", FlashQError)],
)
def test_kinds_of_kinds(kind: str, parent: type[FlashQError]) -> None:
    """Whoever catches the general error catches the special one."""
    assert issubclass(getattr(errors, kind), parent)


def test_the_sentence_is_what_people_see() -> None:
    """Every error is made from its sentence alone."""
    for kind in TREE:
        assert str(kind("Because")) == "Because"


def test_a_duplicate_names_the_job_that_holds_the_key() -> None:
    """Or none, when a client cannot know it."""
    assert Duplicate("Duplicate job with key: k", 7).id == 7
    assert Duplicate("Duplicate job with key: k").id == 0
