"""Frozen dataclasses to JSON and back, checked against their types, and the JSON Schema of such a type.

A field goes by its own name, or by that under `key` in its metadata. One whose default is None is left out where it is
None; one with a default may be missing when it is read. Keys that a type does not know are passed over: they are of a
later version that changed nothing else.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import math
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

Record = TypeVar("Record")
#: An object of JSON. Only what writes, reads or migrates a record has it; between the parts, dataclasses flow.
JsonObject: TypeAlias = dict[str, Any]
_SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}


def to_json(value: Any) -> Any:
    """A dataclass, or what it is made of, as plain dicts, lists and strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = [(field, getattr(value, field.name)) for field in dataclasses.fields(value)]
        return {_key(field): to_json(own) for field, own in pairs if own is not None or field.default is not None}
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(own) for own in value]
    return value


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text that anybody may have written.

    Raises:
        ValueError: it is no JSON, names a key twice, nests too deep, or holds a number that is none or out of range.
    """
    try:
        return json.loads(
            text, object_pairs_hook=_without_duplicates, parse_int=_integer, parse_float=_real, parse_constant=_real
        )
    except RecursionError:
        raise ValueError("nested too deep") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> JsonObject:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r} is there twice")
    return value


def _integer(text: str) -> int:
    # No more than what other programs read without loss of digits.
    if len(text) > 19 or abs(int(text)) >= 2**63:
        raise ValueError(f"the number {text[:30]} is out of range")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:30]} is out of range")
    return value


def from_json(kind: type[Record], value: Any) -> Record:
    """The dataclass of a kind that a JSON value describes. Raises ValueError, which names the field that is wrong."""
    built: Record = _read(kind, value, "")
    return built


def json_schema(kind: type[Any], title: str) -> JsonObject:
    """The JSON Schema (2020-12) of a dataclass, with its docstrings as descriptions; nested types under `$defs`."""
    definitions: JsonObject = {}
    root = _schema(kind, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _key(field: dataclasses.Field[Any]) -> str:
    return str(field.metadata.get("key", field.name))


@functools.cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _has_default(field: dataclasses.Field[Any]) -> bool:
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def _read(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _read_union(arguments, value, place)
    if origin is tuple:
        _require(isinstance(value, list), place, "a list", value)
        return tuple(_read(arguments[0], own, f"{place}[{index}]") for index, own in enumerate(value))
    if origin is dict:
        _require(isinstance(value, dict), place, "an object", value)
        return {key: _read(arguments[1], own, f"{place}.{key}") for key, own in value.items()}
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, place)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        _require(isinstance(value, str), place, "a string", value)
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    _require(type(value) is kind, place, _SIMPLE.get(kind, str(kind)), value)
    return value


def _read_union(choices: tuple[Any, ...], value: Any, place: str) -> Any:
    if value is None and types.NoneType in choices:
        return None
    errors = []
    for choice in choices:
        if choice is not types.NoneType:
            try:
                return _read(choice, value, place)
            except ValueError as error:
                errors.append(str(error))
    raise ValueError("; ".join(errors))


def _read_dataclass(kind: Any, value: Any, place: str) -> Any:
    _require(isinstance(value, dict), place, "an object", value)
    hints, values = _hints(kind), {}
    for field in dataclasses.fields(kind):
        key = _key(field)
        if key in value:
            values[field.name] = _read(hints[field.name], value[key], f"{place}.{key}" if place else key)
        elif not _has_default(field):
            raise ValueError(f"{f'{place}.{key}' if place else key} is missing")
    return kind(**values)


def _require(right: bool, place: str, wanted: str, value: Any) -> None:
    if not right:
        raise ValueError(f"{place or 'the whole'}: {wanted} is needed, not {str(value)[:60]!r}")


def _schema(kind: Any, definitions: JsonObject) -> JsonObject:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return {}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_schema(choice, definitions) for choice in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if kind in _SIMPLE:
        return {"type": _SIMPLE[kind]}
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}
        definitions[kind.__name__] = _definition(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _definition(kind: Any, definitions: JsonObject) -> JsonObject:
    description = {"description": " ".join((inspect.getdoc(kind) or "").split())}
    if issubclass(kind, StrEnum):
        return {**description, "enum": [str(member) for member in kind]}
    hints, own = _hints(kind), dataclasses.fields(kind)
    return {
        **description,
        "type": "object",
        "properties": {_key(field): _schema(hints[field.name], definitions) for field in own},
        "required": [_key(field) for field in own if not _has_default(field)],
    }
