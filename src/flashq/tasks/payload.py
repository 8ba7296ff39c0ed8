"""The payload of a task's job, and how values become JSON and come back as what the annotations say.

The envelope is a plain object, so that a program in any language can enqueue a task::

    {"task": "shop.mails.send", "args": ["ada@example.org"], "kwargs": {"urgent": true}, "headers": {"trace": "0"}}

Values are JSON and nothing else: a queue that unpickles is a queue that runs whatever somebody pushed. What msgspec
writes and reads by annotation (dataclasses, structs, enums, datetimes, UUIDs, decimals, sets, bytes ...) comes back as
it went; pydantic models and paths do so by the two hooks here.
"""

from collections.abc import Sequence
from pathlib import PurePath
from typing import Any, Final, Literal

from msgspec import Raw, Struct, field, inspect, json

from flashq.errors import BadRequest

Use = Literal["first", "list"]
"""How the results of a job's parents become its first argument: the first parent's, or all of them in a list."""


class Envelope(Struct, omit_defaults=True, gc=False):
    """A task's job on the wire.

    Attributes:
        task: its name.
        args: positional arguments, a JSON array.
        kwargs: keyword arguments, a JSON object.
        headers: what middlewares carry along.
        use: how the results of the parents become the first argument; None: not at all.
    """

    task: str
    args: Any = ()
    kwargs: Any = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    use: Use | None = None


class Received(Struct, gc=False):
    """An envelope as it is read: the arguments wait for the task's own annotations."""

    task: str
    args: Raw = Raw(b"[]")
    kwargs: Raw = Raw(b"{}")
    headers: dict[str, str] = field(default_factory=dict)
    use: Use | None = None


def _to_json(value: Any) -> Any:  # noqa: ANN401 - msgspec asks for whatever it does not know itself
    dump = getattr(value, "model_dump", None)
    if dump is not None and not isinstance(value, type):
        return dump(mode="json")
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__qualname__} has no JSON form")


def _from_json(kind: type, value: Any) -> Any:  # noqa: ANN401
    if kind is object:
        return value
    validate = getattr(kind, "model_validate", None)
    if validate is not None:
        return validate(value)
    if issubclass(kind, PurePath):
        return kind(value)
    raise TypeError(f"{kind.__qualname__} has no JSON form")


to_json: Final = json.Encoder(enc_hook=_to_json).encode
"""Any value as JSON; raises TypeError for what has none."""

to_sorted_json: Final = json.Encoder(enc_hook=_to_json, order="deterministic").encode
"""The same, but equal values become equal bytes: members of objects and of sets are sorted. A set of texts has another
order in every process."""

read_envelope: Final = json.Decoder(Received).decode


def decoder(kind: Any) -> json.Decoder[Any]:  # noqa: ANN401 - an annotation
    """What reads JSON into ``kind``: an annotation, or `Any`."""
    return json.Decoder(kind, dec_hook=_from_json)


def check_carried(kind: Any, where: str) -> None:  # noqa: ANN401
    """Refuse an annotation whose values could not come back from JSON.

    Args:
        kind: the annotation.
        where: for the error, such as "task 'send', parameter 'to'".

    Raises:
        BadRequest: they could not.
    """
    try:
        _check(inspect.type_info(kind), where)
    except TypeError as error:
        raise BadRequest(f"{where}: {error}") from None


def _check(info: inspect.Type, where: str) -> None:
    if isinstance(info, inspect.CustomType):
        kind = info.cls
        if kind is not object and not hasattr(kind, "model_validate") and not issubclass(kind, PurePath):
            raise BadRequest(
                f"{where}: {kind.__qualname__} cannot be carried as JSON; "
                "use a dataclass, a msgspec Struct or a pydantic model"
            )
    for part in _parts(info):
        _check(part, where)


def _parts(info: inspect.Type) -> Sequence[inspect.Type]:
    """The types that a type is made of, as far as they are arguments and not fields of a class of its own."""
    match info:
        case inspect.UnionType(types=types):
            return types
        case inspect.TupleType(item_types=types):
            return types
        case inspect.DictType(key_type=key, value_type=value):
            return (key, value)
        case inspect.CollectionType(item_type=item):
            return (item,)
        case _:
            return ()
