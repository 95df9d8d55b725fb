"""From JSON values to the dataclasses of this package, by their annotations.

A field the service adds later is passed over, and so is a word that a `Literal` does not name yet.
What is missing, or of another type, is an `UnexpectedAnswer` that says where.

A field is named in JSON as here, unless its metadata says otherwise (`named`).
"""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, field, fields, is_dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from moments_client.errors import UnexpectedAnswer

T = TypeVar("T")

Decode = Callable[[Any, str], Any]  # a value and where it stands

_NAME = "name"


def named(name: str) -> Any:
    """A field that JSON calls otherwise, because Python cannot."""
    return field(metadata={_NAME: name})


def json_name(one: Field[Any]) -> str:
    """What a dataclass's field is called in JSON."""
    return one.metadata.get(_NAME, one.name)


def decode(type_: type[T], value: Any) -> T:
    """`value` as a `type_`, a dataclass. Raises `UnexpectedAnswer`."""
    return cast(T, _decoder(type_)(value, type_.__name__))


def _decode_plain(type_: type[Any]) -> Decode:
    def plain(value: Any, where: str) -> Any:
        # A bool is an int to Python, and a whole number may stand for a float in JSON.
        if type(value) is type_ or (type_ is float and type(value) is int):
            return value
        raise _unexpected(value, where, type_.__name__)

    return plain


def _decode_time(value: Any, where: str) -> datetime:
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
    raise _unexpected(value, where, "time")


def _decode_anything(value: Any, where: str) -> Any:
    return value


@cache
def _decoder(type_: Any) -> Decode:
    origin, args = get_origin(type_), get_args(type_)
    if type_ is Any:
        return _decode_anything
    if type_ is datetime:
        return _decode_time
    if origin is Literal:
        return _decode_plain(cast("type[Any]", type(args[0])))
    if origin in (Union, types.UnionType):
        return _union(args)
    if origin is list:
        return _list(args[0])
    if origin is dict or origin is Mapping:
        return _dict(args[1])
    if is_dataclass(type_):
        return _object(cast("type[Any]", type_))
    return _decode_plain(type_)


def _list(item: Any) -> Decode:
    inner = _decoder(item)
    is_list = _decode_plain(list)

    def decode_list(value: Any, where: str) -> Any:
        return [inner(one, f"{where}[{index}]") for index, one in enumerate(is_list(value, where))]

    return decode_list


def _dict(item: Any) -> Decode:
    inner = _decoder(item)
    is_dict = _decode_plain(dict)

    def decode_dict(value: Any, where: str) -> Any:
        return {name: inner(one, f"{where}.{name}") for name, one in is_dict(value, where).items()}

    return decode_dict


def _union(choices: tuple[Any, ...]) -> Decode:
    """None, or the first that fits: the dataclasses of a union are told by their fields."""
    decoders = [_decoder(choice) for choice in choices if choice is not types.NoneType]
    may_be_none = types.NoneType in choices

    def decode_union(value: Any, where: str) -> Any:
        if value is None and may_be_none:
            return None
        for attempt in decoders[:-1]:
            try:
                return attempt(value, where)
            except UnexpectedAnswer:
                continue
        return decoders[-1](value, where)

    return decode_union


def _object(type_: type[Any]) -> Decode:
    hints = get_type_hints(type_)
    rows = [
        (one.name, json_name(one), _is_required(one), _decoder(hints[one.name]))
        for one in fields(type_)
        if one.init
    ]

    def decode_object(value: Any, where: str) -> Any:
        if not isinstance(value, dict):
            raise _unexpected(value, where, "object")
        found = cast("dict[str, Any]", value)
        taken: dict[str, Any] = {}
        for name, key, required, inner in rows:
            if key in found:
                taken[name] = inner(found[key], f"{where}.{key}")
            elif required:
                raise UnexpectedAnswer(f"{where} has no {key!r}: is this a service of moments?")
        return type_(**taken)

    return decode_object


def _is_required(one: Field[Any]) -> bool:
    return one.default is MISSING and one.default_factory is MISSING


def _unexpected(value: Any, where: str, wanted: str) -> UnexpectedAnswer:
    return UnexpectedAnswer(f"{where} should be {wanted}, and is {type(value).__name__}")
