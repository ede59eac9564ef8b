"""Frozen dataclasses to JSON and back, checked against their types; `documentation.json_schema` describes the JSON.

A field's key is its name, or the `key` in its metadata. A field whose default is None, or that is marked `OMITTED`, is
left out if it is None; a field with a default may be missing when read. Unknown keys are ignored: they come from a
later version that changed nothing else. A class may map additional keys to its properties in `DERIVED`: they are
written beside the fields, for readers of the record.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import types
import typing
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias, TypeVar

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


def schema_of(record: Any, latest: int) -> int:
    """The schema number of a record, 1 where it has none. Raises ValueError for one that is not an object, or newer."""
    if not isinstance(record, Mapping):
        raise ValueError("an object is needed")
    schema = record.get("schema", 1)
    if not isinstance(schema, int) or schema > latest:
        raise ValueError(f"its schema is {schema}, this version of cxr-edge reads those up to {latest}")
    return schema


def to_json(value: Any) -> Any:
    """A dataclass, or any of its values, as plain dicts, lists and strings."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {key: to_json(item) for key, item in _pairs(value)}
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    # A NumPy array; NumPy is not imported here.
    return value.tolist() if hasattr(value, "tolist") else value


def _pairs(value: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(value):
        key, item = key_of(field), getattr(value, field.name)
        if "inline" in field.metadata:
            yield from () if item is None else _pairs(item)
        elif "figure" in field.metadata:
            yield key, item.value
            yield f"{key}_interval", None if item.low is None else [item.low, item.high]
        elif item is not None or not is_omitted(field):
            yield key, item
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
        counts = Counter(key for key, _ in pairs)
        raise ValueError(f"the key {counts.most_common(1)[0][0][:60]!r} is repeated")
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
    built: Record = _reader(typing.cast(Any, kind))(value)
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


class _MisfitError(ValueError):
    """Values of wrong types: for each, its place, such as `.contract.input.shape[0]`, and the fault."""

    def __init__(self, *faults: tuple[str, str]) -> None:
        super().__init__(faults)
        self.faults = faults

    def inside(self, place: str) -> _MisfitError:
        """The same faults, as seen from the object or list that has this value at `place`."""
        return _MisfitError(*((place + inner, fault) for inner, fault in self.faults))

    def __str__(self) -> str:
        return "; ".join(f"{place.removeprefix('.') or 'the whole'}{fault}" for place, fault in self.faults)


_Reader: TypeAlias = Callable[[Any], Any]


# Built once per type: a bundle's manifest holds thousands of values, and reading it is a part of each prediction.
@functools.cache
def _reader(kind: Any) -> _Reader:
    """A function that reads a value of a type, or raises ValueError."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return _anything
    if origin in (types.UnionType, typing.Union):
        return _union_reader(arguments)
    if origin is tuple:
        return _tuple_reader(_reader(arguments[0]))
    if origin in (dict, Mapping):
        return _mapping_reader(_reader(arguments[1]))
    if is_array(kind):
        return _array_reader(typing.get_args(arguments[1])[0])
    if dataclasses.is_dataclass(kind):
        return functools.partial(_read_dataclass, kind)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _enum_reader(kind)
    return _read_float if kind is float else _simple_reader(kind)


def _anything(value: Any) -> Any:
    return value


def _read_float(value: Any) -> float:
    if type(value) is float:
        return value
    _require(type(value) is int, SIMPLE[float], value)
    return float(value)


def _simple_reader(kind: Any) -> _Reader:
    expected = SIMPLE.get(kind, str(kind))

    def read(value: Any) -> Any:
        _require(type(value) is kind, expected, value)
        return value

    return read


def _enum_reader(kind: type[StrEnum]) -> _Reader:
    def read(value: Any) -> StrEnum:
        _require(isinstance(value, str), "a string", value)
        try:
            return kind(value)
        except ValueError as error:
            raise _MisfitError(("", f": {error}")) from None

    return read


def _array_reader(dtype: Any) -> _Reader:
    def read(value: Any) -> Any:
        import numpy as np

        _require(isinstance(value, list), "a list", value)
        return np.asarray(value, dtype=dtype)

    return read


def _tuple_reader(element: _Reader) -> _Reader:
    def read(value: Any) -> tuple[Any, ...]:
        _require(isinstance(value, list), "a list", value)
        elements: list[Any] = []
        try:
            for item in value:
                elements.append(element(item))
        except _MisfitError as error:
            raise error.inside(f"[{len(elements)}]") from None
        return tuple(elements)

    return read


def _mapping_reader(element: _Reader) -> _Reader:
    def read(value: Any) -> dict[str, Any]:
        _require(isinstance(value, dict), "an object", value)
        mapping: dict[str, Any] = {}
        key = ""
        try:
            for key, item in value.items():
                mapping[key] = element(item)
        except _MisfitError as error:
            raise error.inside(f".{key}") from None
        return mapping

    return read


def _union_reader(choices: tuple[Any, ...]) -> _Reader:
    readers = [_reader(choice) for choice in choices if choice is not types.NoneType]
    optional = len(readers) < len(choices)

    def read(value: Any) -> Any:
        if value is None and optional:
            return None
        faults: list[tuple[str, str]] = []
        for reader in readers:
            try:
                return reader(value)
            except ValueError as error:
                # A dataclass may have checks of its own.
                faults += error.faults if isinstance(error, _MisfitError) else [("", f": {error}")]
        raise _MisfitError(*faults)

    return read


#: What the interval of a figure holds, in this order.
_BOUNDS = ("low", "high")


class _FieldReader(NamedTuple):
    name: str
    key: str
    read: _Reader
    is_inline: bool
    is_figure: bool
    #: Whether it is read as None, or by its default, where it is missing.
    is_omitted: bool
    has_default: bool


@functools.cache
def _field_readers(kind: Any) -> tuple[_FieldReader, ...]:
    return tuple(
        _FieldReader(
            field.name,
            key_of(field),
            _reader(hints(kind)[field.name]),
            "inline" in field.metadata,
            "figure" in field.metadata,
            "omitted" in field.metadata,
            has_default(field),
        )
        for field in dataclasses.fields(kind)
    )


def _read_dataclass(kind: Any, value: Any) -> Any:
    _require(isinstance(value, dict), "an object", value)
    values: dict[str, object] = {}
    for field in _field_readers(kind):
        key = field.key
        if field.is_inline:
            values[field.name] = field.read(value)
        elif field.is_figure:
            interval = value.get(f"{key}_interval")
            pair = [None, None] if interval is None else interval
            try:
                _require(isinstance(pair, list) and len(pair) == len(_BOUNDS), "a pair of bounds", interval)
                values[field.name] = field.read({"value": value.get(key), **dict(zip(_BOUNDS, pair, strict=True))})
            except _MisfitError as error:
                raise error.inside(f".{key}") from None
        elif key in value:
            try:
                values[field.name] = field.read(value[key])
            except _MisfitError as error:
                raise error.inside(f".{key}") from None
        elif field.is_omitted:
            values[field.name] = None
        elif not field.has_default:
            raise _MisfitError((f".{key}", " is missing"))
    return kind(**values)


def _require(right: bool, expected: str, value: Any) -> None:
    if not right:
        raise _MisfitError(("", f": {expected} is needed, not {str(value)[:60]!r}"))
