"""The JSON Schema of dataclasses as `cxr_edge.records` writes them."""

from __future__ import annotations

import dataclasses
import inspect
import types
import typing
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from cxr_edge.records import SIMPLE, JsonObject, derived, has_default, hints, is_array, is_omitted, key_of


def json_schema(kind: Any, title: str) -> JsonObject:
    """The JSON Schema (2020-12) of a dataclass, or of several as `tuple[Kind, ...]`; nested types under `$defs`.

    Docstrings become descriptions. Only keys that every version of the schema writes are required: no defaults.
    """
    definitions: JsonObject = {}
    root = _schema(kind, definitions)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **root,
        "$defs": dict(sorted(definitions.items())),
    }


def _schema(kind: Any, definitions: JsonObject) -> JsonObject:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return {}
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_schema(choice, definitions) for choice in arguments]}
    if origin is tuple:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    if origin in (dict, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if is_array(kind):
        return {"type": "array"}
    if kind in SIMPLE:
        return {"type": SIMPLE[kind]}
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}
        definitions[kind.__name__] = _definition(kind, definitions)
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _definition(kind: Any, definitions: JsonObject) -> JsonObject:
    description = {"description": " ".join((inspect.getdoc(kind) or "").split())}
    if issubclass(kind, StrEnum):
        return {**description, "enum": [str(member) for member in kind]}
    properties, required = _properties(kind, definitions)
    return {
        **description,
        "type": "object",
        "properties": properties,
        "required": [key for key in properties if key in required],
    }


def _properties(kind: Any, definitions: JsonObject) -> tuple[JsonObject, set[str]]:
    """The keys of a dataclass with their schemas, and the keys that are required."""
    properties: JsonObject = {}
    required: set[str] = set()
    for field in dataclasses.fields(kind):
        key, hint = key_of(field), hints(kind)[field.name]
        if "inline" in field.metadata:
            choices = typing.get_args(hint) or (hint,)
            inner, always = _properties(choices[0], definitions)
            properties |= inner
            required |= always if types.NoneType not in choices else set()
        elif "figure" in field.metadata:
            properties[key] = _schema(float | None, definitions)
            properties[f"{key}_interval"] = _schema(tuple[float, ...] | None, definitions)
            required |= {key, f"{key}_interval"}
        else:
            properties[key] = _schema(hint, definitions)
            required |= set() if has_default(field) or is_omitted(field) else {key}
    for key, name in derived(kind).items():
        properties[key] = _schema(typing.get_type_hints(getattr(kind, name).fget)["return"], definitions)
        required.add(key)
    return properties, required
