"""Recipes by name, from TOML files, or from equivalent options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

import cxr_edge
from cxr_edge.artifacts.gate import Gate
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.migration import FLAVOURS, current_recipe
from cxr_edge.choices import nearest
from cxr_edge.errors import OptionError
from cxr_edge.exporting.recipe import CASCADE, OPSETS, Batch, DenseWeights, OutputType, Recipe
from cxr_edge.files import read_toml
from cxr_edge.lowering.activations import ActivationType

_Choice = TypeVar("_Choice", bound=StrEnum)
_REQUIRED = ("device", "why", "formats", "quantize")


def recipes_folder() -> Path:
    """The folder of recipes: inside the installed package, or beside it in a clone."""
    package = Path(cxr_edge.__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / "export"


def read_recipe(name: str) -> Recipe:
    """A recipe by its file, or by the bare name of one shipped with cxr-edge.

    Raises:
        OptionError: there is none, it is not TOML, or it has an unknown key or value; the message names the closest
            valid one.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = recipes_folder() / f"{name}.toml"
        if not path.is_file():
            names = sorted(file.stem for file in recipes_folder().glob("*.toml"))
            raise OptionError(f"recipe {name}: {nearest(name, names)}, or give a .toml file")
    if path.stem == CASCADE:
        raise OptionError(
            f"{path}: a recipe names its bundle's folder, and bundle-{CASCADE} is for cascades; rename it"
        )
    try:
        return recipe_of(read_toml(path), path.stem)
    except FileNotFoundError:
        raise OptionError(f"{path}: no such recipe") from None
    except ValueError as error:
        raise OptionError(f"{path}: not a TOML file ({error})") from None
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def recipe_of(content: Mapping[str, Any], name: str) -> Recipe:
    """The recipe that a TOML file describes.

    Raises:
        OptionError: a key or a value is unknown, a required key is missing, or two values are incompatible.
    """
    content = _migrated(content)
    _require_known(content, _READERS, "")
    if missing := [key for key in _REQUIRED if key not in content]:
        raise OptionError(f"{missing[0]} is missing; a recipe needs {', '.join(_REQUIRED)}")
    return Recipe(**{key: _READERS[key](key, value) for key, value in content.items()}, name=name)


def recipe_of_options(
    recipe: str | None,
    formats: list[str] | None,
    quantizations: list[str] | None,
    keep_float: list[str] | None,
    heatmap: bool,
    gate: dict[str, float],
) -> Recipe:
    """The named recipe, or an unnamed one built from the other options.

    Raises:
        OptionError: there is no such recipe, it was combined with another option, or a value is unknown.
    """
    if recipe is None:
        return Recipe(
            _formats("formats", _expanded(formats or ["all"], ArtifactFormat)),
            _quantizations("quantize", _expanded(quantizations or [Quantization.INT8], Quantization.exportable())),
            keep_float=tuple(keep_float or ()),
            heatmap=heatmap,
            parity=Gate(**gate),
        )
    if formats or quantizations or keep_float or gate or not heatmap:
        raise OptionError(
            "--recipe replaces --format, --quantize, --keep-float, --no-heatmap and the gate; leave them "
            "out, or change a copy of the recipe"
        )
    return read_recipe(recipe)


def _expanded(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Names with `all` expanded."""
    return [value for name in names for value in (known if name == "all" else (name,))]


def _migrated(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The content of an early recipe with today's keys. Raises OptionError for what those cannot express."""
    if (input_type := content.get("input_type", "uint8")) != "uint8":
        raise OptionError(f"input_type {input_type}: every artifact takes grey values as uint8; leave the key out")
    if "integer_flavour" in content:
        _known("integer_flavour", content["integer_flavour"], FLAVOURS)
        if repeated := sorted(set().union(*FLAVOURS.values()) & set(content)):
            raise OptionError(f"integer_flavour: {', '.join(repeated)} replaced it; leave it out")
    return current_recipe(content)


def _text(key: str, value: Any) -> str:
    _require(isinstance(value, str), key, value, "a string")
    return str(value)


def _flag(key: str, value: Any) -> bool:
    _require(type(value) is bool, key, value, "true or false")
    return bool(value)


def _opset(key: str, value: Any) -> int:
    _require(type(value) is int, key, value, "a whole number")
    return int(_known(key, value, OPSETS))


def _texts(key: str, value: Any) -> tuple[str, ...]:
    _require(isinstance(value, list), key, value, 'a list such as ["tflite", "onnx"]')
    for text in value:
        _require(isinstance(text, str), key, text, "a list of strings")
    return tuple(value)


def _formats(key: str, value: Any) -> tuple[ArtifactFormat, ...]:
    """In order, without repetitions."""
    return tuple(dict.fromkeys(ArtifactFormat(_known(key, name, ArtifactFormat)) for name in _texts(key, value)))


def _quantizations(key: str, value: Any) -> tuple[Quantization, ...]:
    """In order, without repetitions; old names are accepted."""
    quantizations, exportable = [], Quantization.exportable()
    for name in _texts(key, value):
        try:
            quantizations.append(Quantization(name))
        except ValueError:
            raise OptionError(f"{key} {name}: {nearest(name, exportable)}") from None
        if quantizations[-1] not in exportable:
            raise OptionError(f"{key} {name}: is written by int8 with keep_float; {nearest(name, exportable)}")
    return tuple(dict.fromkeys(quantizations))


def _choice_of(choices: type[_Choice]) -> Callable[[str, Any], _Choice]:
    return lambda key, value: choices(_known(key, _text(key, value), list(choices)))


def _gate(key: str, value: Any) -> Gate:
    _require(isinstance(value, dict), key, value, "a table [parity]")
    _require_known(value, [demand.name for demand in fields(Gate)], f"{key}.")
    for demand, number in value.items():
        _require(type(number) in (int, float), f"{key}.{demand}", number, "a share from 0 to 1")
    return Gate(**value)


_READERS: Mapping[str, Callable[[str, Any], Any]] = {
    "device": _text,
    "why": _text,
    "formats": _formats,
    "quantize": _quantizations,
    "activation_type": _choice_of(ActivationType),
    "reduced_range": _flag,
    "symmetric_activations": _flag,
    "output_type": _choice_of(OutputType),
    "batch": _choice_of(Batch),
    "dense_weights": _choice_of(DenseWeights),
    "opset": _opset,
    "keep_float": _texts,
    "heatmap": _flag,
    "parity": _gate,
}


def _known(key: str, value: Any, known: Iterable[Any]) -> Any:
    if value not in list(known):
        raise OptionError(f"{key} {value}: {nearest(str(value), known)}")
    return value


def _require_known(content: Iterable[str], known: Iterable[str], prefix: str) -> None:
    for key in content:
        if key not in list(known):
            raise OptionError(f"unknown key {prefix}{key}: {nearest(key, known)}")


def _require(right: bool, key: str, value: Any, expected: str) -> None:
    if not right:
        raise OptionError(f"{key} = {value!r}: {expected} is needed")
