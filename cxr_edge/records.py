"""Frozen dataclasses to JSON and back, checked against their types; `documentation.json_schema` describes the JSON.

A field's key is its own name, or the `key` in its metadata. A field whose default is None, or that is marked `OMITTED`,
is left out if it is None; a field with a default may be missing when read. Unknown keys are ignored: they come from a
later version that changed nothing else. A class may list in `DERIVED` additional keys, written beside its fields for
readers of the record, with the properties that they come from.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any, TypeAlias, TypeVar

from cxr_edge.intervals import Interval

Record = TypeVar("Record")
#: A JSON object. Only code that writes, reads or migrates records uses it; everything else passes dataclasses.
JsonObject: TypeAlias = dict[str, Any]
#: Metadata of a field: the keys of its dataclass are merged into those of the parent.
INLINE = {"inline": True}
#: Metadata of a field whose default is not None: left out if it is None.
OMITTED = {"omitted": True}
#: Metadata of an `Interval`: its figure is under the field's key, and `[low, high]` under that key plus `_interval`.
FIGURE = {"figure": True}
SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", types.NoneType: "null"}


def to_json(value: Any) -> Any:
    """A dataclass, or any of its values, as plain dicts, lists and strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key: to_json(own) for key, own in _pairs(value)}
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(own) for own in value]
    # A NumPy array; NumPy is not imported here.
    return value.tolist() if hasattr(value, "tolist") else value


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(value):
        key, own = key_of(field), getattr(value, field.name)
        if "inline" in field.metadata:
            yield from () if own is None else _pairs(own)
        elif "figure" in field.metadata:
            yield key, own.value
            yield f"{key}_interval", None if own.low is None else [own.low, own.high]
        elif own is not None or not is_omitted(field):
            yield key, own
    for key, name in derived(type(value)).items():
        yield key, getattr(value, name)


def parse_json(text: str | bytes) -> Any:
    """The value of a JSON text from an untrusted source.

    Raises:
        ValueError: it is not JSON, repeats a key, nests too deeply, or has a number that is not finite or out of range.
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
    # Only what other programs read without losing digits.
    if len(text) > 19 or abs(int(text)) >= 2**63:
        raise ValueError(f"the number {text[:30]} is out of range")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:30]} is out of range")
    return value


def from_json(kind: type[Record], value: Any) -> Record:
    """An instance of a dataclass from a JSON value. Raises ValueError, which names the wrong field."""
    built: Record = _read(kind, value, "")
    return built


def key_of(field: dataclasses.Field[Any]) -> str:
    """The key of a field."""
    return str(field.metadata.get("key", field.name))


def is_omitted(field: dataclasses.Field[Any]) -> bool:
    """Whether a field is left out if it is None."""
    return field.default is None or "omitted" in field.metadata


def derived(kind: type[Any]) -> Mapping[str, str]:
    """The keys written in addition to a dataclass's fields, with the names of the properties."""
    named: Mapping[str, str] = getattr(kind, "DERIVED", {})
    return named


@functools.cache
def hints(kind: type[Any]) -> Mapping[str, Any]:
    """The types of a dataclass's fields."""
    return typing.get_type_hints(kind)


def has_default(field: dataclasses.Field[Any]) -> bool:
    """Whether a field may be missing when read."""
    return field.default is not dataclasses.MISSING or field.default_factory is not dataclasses.MISSING


def is_array(kind: Any) -> bool:
    """Whether a type is an `NDArray`."""
    return getattr(typing.get_origin(kind), "__module__", "") == "numpy"


def _read(kind: Any, value: Any, place: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin in (types.UnionType, typing.Union):
        return _read_union(arguments, value, place)
    if origin is tuple:
        _require(isinstance(value, list), place, "a list", value)
        return tuple(_read(arguments[0], own, f"{place}[{index}]") for index, own in enumerate(value))
    if origin in (dict, Mapping):
        _require(isinstance(value, dict), place, "an object", value)
        return {key: _read(arguments[1], own, f"{place}.{key}") for key, own in value.items()}
    if is_array(kind):
        import numpy as np

        _require(isinstance(value, list), place, "a list", value)
        return np.asarray(value, dtype=typing.get_args(arguments[1])[0])
    if dataclasses.is_dataclass(kind):
        return _read_dataclass(kind, value, place)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        _require(isinstance(value, str), place, "a string", value)
        return kind(value)
    if kind is float and type(value) is int:
        return float(value)
    _require(type(value) is kind, place, SIMPLE.get(kind, str(kind)), value)
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
    values: dict[str, object] = {}
    for field in dataclasses.fields(kind):
        key = key_of(field)
        if "inline" in field.metadata:
            values[field.name] = _read(hints(kind)[field.name], value, place)
        elif "figure" in field.metadata:
            low, high = value.get(f"{key}_interval") or (None, None)
            values[field.name] = _read(Interval, {"value": value.get(key), "low": low, "high": high}, place)
        elif key in value:
            values[field.name] = _read(hints(kind)[field.name], value[key], f"{place}.{key}" if place else key)
        elif "omitted" in field.metadata:
            values[field.name] = None
        elif not has_default(field):
            raise ValueError(f"{f'{place}.{key}' if place else key} is missing")
    return kind(**values)


def _require(right: bool, place: str, wanted: str, value: Any) -> None:
    if not right:
        raise ValueError(f"{place or 'the whole'}: {wanted} is needed, not {str(value)[:60]!r}")
