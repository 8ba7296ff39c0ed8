"""A task function's parameters: checking a call when it is enqueued, and reading its arguments when it runs.

Both happen by the function's own signature and annotations. A call that does not fit is refused where it is made and
not hours later in a worker; what a worker reads has the types that the function asks for, or the job is refused there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from inspect import Parameter, Signature, signature
from types import NoneType
from typing import Any, Final, get_args, get_type_hints

from msgspec import UNSET, Raw, Struct, ValidationError, defstruct, json

from flashq.errors import BadRequest
from flashq.tasks.context import Context
from flashq.tasks.payload import check_carried, decoder

_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_NAMED: Final = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)

_read_list = json.Decoder(list[Raw]).decode
_read_dict = json.Decoder(dict[str, Raw]).decode


class Arguments:
    """The parameters of one function, without those annotated `Context`.

    Args:
        function: whose.
        where: what to call it in errors, such as "task 'send'".

    Raises:
        BadRequest: an annotation names something that JSON cannot carry.
    """

    def __init__(self, function: Callable[..., Any], where: str) -> None:
        self._function = function
        self._where = where
        self._reserved: set[str] = set()
        whole = signature(function)
        hints = self._hints_now()
        self.contexts: tuple[tuple[str, int | None], ...] = ()
        """The parameters that get the context, and their places among the positional ones; None: by name only."""
        self.context_first = False
        """Whether the first positional parameter is one more of them."""
        own: list[Parameter] = []
        for place, parameter in enumerate(whole.parameters.values()):
            if not _is_context(hints.get(parameter.name, parameter.annotation)):
                own.append(parameter)
            elif place == 0 and parameter.kind in _POSITIONAL:
                self.context_first = True
                self._reserved = {parameter.name}
            elif parameter.kind in _NAMED:
                by_place = parameter.kind in _POSITIONAL
                self.contexts += ((parameter.name, place - self.context_first if by_place else None),)
            else:
                raise BadRequest(f"{where}: {parameter} cannot get the context; let it stand first, or have a name")
        self._reserved = {*self._reserved, *(name for name, _ in self.contexts)}
        self.signature = Signature(own)
        positional = [p for p in own if p.kind in _POSITIONAL]
        self._most = len(positional)
        self._least = sum(p.default is Parameter.empty for p in positional)
        self._plain = all(p.kind in _POSITIONAL or p.default is not Parameter.empty for p in own) and not any(
            p.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD) for p in own
        )
        if hints:
            for parameter in own:
                check_carried(hints.get(parameter.name, Any), f"{where}, parameter {parameter.name!r}")

    def check(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Refuse a call that the function would refuse.

        Raises:
            TypeError: it does not fit the signature.
        """
        if self._plain and not kwargs and self._least <= len(args) <= self._most:
            return  # the usual case, at a tenth of the price
        if not self._reserved.isdisjoint(kwargs):  # ``**kwargs`` would take what somebody pushed as the context
            raise TypeError(f"{self._where}: the job's context is nobody's argument: {', '.join(self._reserved)}")
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise TypeError(f"{self._where}: {error}") from None

    def with_context(
        self, context: object, args: Iterable[Any], kwargs: Mapping[str, Any]
    ) -> tuple[list[Any], dict[str, Any]]:
        """A call's arguments, with the context at each place of `contexts` where nothing else was given."""
        filled, named = list(args), dict(kwargs)
        for name, place in self.contexts:
            if name in named:
                continue
            if place is not None and place <= len(filled):
                filled.insert(place, context)
            else:
                named[name] = context
        return filled, named

    def named(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """All arguments of a call by name, defaults included."""
        bound = self.signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return bound.arguments

    def read(self, args: Raw, kwargs: Raw, first: Sequence[Raw] = ()) -> tuple[list[Any], dict[str, Any]]:
        """Arguments as they came over the wire, as what the annotations say.

        Args:
            args: a JSON array.
            kwargs: a JSON object.
            first: values that stand before ``args``, each JSON.

        Raises:
            ValidationError: one does not have its annotation's type; says which.
            TypeError: they do not fit the signature.
        """
        if first:
            args = Raw(json.encode([*first, *_read_list(args)]))
        positional = self._read_positional(args) if bytes(args) != b"[]" else []
        named = self._read_named(kwargs) if bytes(kwargs) != b"{}" else {}
        self.check(positional, named)
        return positional, named

    @cached_property
    def result(self) -> json.Decoder[Any]:
        """What reads the function's result; `Any` where it says nothing."""
        try:
            kind = self._hints.get("return", Any)
            check_carried(kind, f"{self._where}, result")
            return decoder(kind)
        except Exception:
            return decoder(Any)

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self._function, include_extras=True)

    def _hints_now(self) -> dict[str, Any]:
        """The annotations; empty while one of them names something that is defined further below in its module."""
        try:
            return self._hints
        except NameError:
            return {}

    def _read_positional(self, args: Raw) -> list[Any]:
        rest = next((p for p in self.signature.parameters.values() if p.kind is Parameter.VAR_POSITIONAL), None)
        if rest is None:
            return [value for value in _values(self._positional.decode(args)) if value is not UNSET]
        given = _read_list(args)
        kinds = [self._kind(p) for p in self.signature.parameters.values() if p.kind in _POSITIONAL]
        kinds += [self._kind(rest)] * (len(given) - len(kinds))
        return [decoder(kind).decode(value) for kind, value in zip(kinds, given, strict=False)]

    def _read_named(self, kwargs: Raw) -> dict[str, Any]:
        rest = next((p for p in self.signature.parameters.values() if p.kind is Parameter.VAR_KEYWORD), None)
        if rest is None:
            read = self._named.decode(kwargs)
            return {
                name: value
                for name, value in zip(read.__struct_encode_fields__, _values(read), strict=True)
                if value is not UNSET
            }
        known = {p.name: self._kind(p) for p in self.signature.parameters.values() if p.kind in _NAMED}
        other = self._kind(rest)
        return {name: decoder(known.get(name, other)).decode(raw) for name, raw in _read_dict(kwargs).items()}

    @cached_property
    def _positional(self) -> json.Decoder[Any]:
        """Reads the array of positional arguments in one pass: a struct that is written as an array."""
        return self._struct(_POSITIONAL, array_like=True)

    @cached_property
    def _named(self) -> json.Decoder[Any]:
        return self._struct(_NAMED, array_like=False)

    def _struct(self, kinds: tuple[Any, ...], *, array_like: bool) -> json.Decoder[Any]:
        wanted = [p for p in self.signature.parameters.values() if p.kind in kinds]
        # Fields of their own names: not every name that a parameter may have, a struct can have, too (``__x``).
        names = {f"p{place}": p.name for place, p in enumerate(wanted)}
        fields = [(field, self._kind(p), UNSET) for field, p in zip(names, wanted, strict=True)]
        shape = defstruct("Arguments", fields, array_like=array_like, rename=names, forbid_unknown_fields=True)
        return decoder(shape)

    def _kind(self, parameter: Parameter) -> Any:  # noqa: ANN401 - an annotation
        return self._hints.get(parameter.name, Any)


def _values(read: Struct) -> list[Any]:
    return [getattr(read, name) for name in read.__struct_fields__]


def _is_context(annotation: Any) -> bool:  # noqa: ANN401
    if isinstance(annotation, str):  # an annotation that cannot be resolved yet
        return annotation.removesuffix(" | None").rpartition(".")[2] == Context.__name__
    if NoneType in (either := get_args(annotation)) and len(either) == 2:  # ``Context | None``
        return any(_is_context(one) for one in either)
    return isinstance(annotation, type) and issubclass(annotation, Context)


__all__ = ["Arguments", "ValidationError"]
