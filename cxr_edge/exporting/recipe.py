"""Export recipes: what a kind of device wants, as data. `export/README.md` explains them to their writers."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import cxr_edge
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.errors import OptionError
from cxr_edge.evaluation.gate import Gate

#: Integer types of ONNX' activations: uint8 for x86 with VNNI (its dot product takes unsigned by signed), the same with
#: weights of 7 bits for x86 without (16-bit sums of two products cannot overflow), int8 for Arm, int8 with every zero
#: point at 0 for TensorRT.
FLAVOURS = ("uint8", "uint8-reduced", "int8", "int8-symmetric")
#: ONNX opsets: 13 brought scales a channel, 18 is the newest that tf2onnx writes.
OPSETS = tuple(range(13, 19))

_CHOICES: dict[str, tuple[Any, ...]] = {
    "integer_flavour": FLAVOURS,
    "input_type": ("uint8",),
    "output_type": ("float32", "int8"),
    "batch": ("any", "one"),
    "dense_weights": ("per-channel", "per-tensor"),
    "opset": OPSETS,
}
_LISTS = ("formats", "quantize", "keep_float")
_REQUIRED = ("device", "why", "formats", "quantize")


@dataclass(frozen=True)
class Recipe:
    """What to write: `export/README.md` says what each key means. Without a `name`, put together from options."""

    formats: tuple[ArtifactFormat, ...]
    quantize: tuple[Quantization, ...]
    integer_flavour: str = "uint8"
    input_type: str = "uint8"
    output_type: str = "float32"
    batch: str = "any"
    dense_weights: str = "per-channel"
    opset: int = 17
    keep_float: tuple[str, ...] = ()
    heatmap: bool = True
    parity: Gate = field(default_factory=Gate)
    device: str = ""
    why: str = ""
    name: str | None = None

    def yields(self, quantization: Quantization) -> Quantization:
        """What an artifact is: one with layers left in float is mixed, and not int8."""
        return quantization.mixed() if self.keep_float else quantization

    @property
    def signed_activations(self) -> bool:
        """Whether ONNX' activations are int8, and not uint8."""
        return self.integer_flavour in ("int8", "int8-symmetric")

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is 0."""
        return self.integer_flavour == "int8-symmetric"


def check_recipe(recipe: Recipe) -> None:
    """Raises OptionError for an unknown value, and for values that cannot go together."""
    for key, known in _CHOICES.items():
        value = getattr(recipe, key)
        if value not in known:
            raise OptionError(f"{key} {value}: {_nearest(str(value), known)}")
    if not recipe.formats or not recipe.quantize:
        raise OptionError("formats and quantize: name one at least")
    integers = [quantization.is_integer for quantization in recipe.quantize]
    if recipe.output_type == "int8" and (ArtifactFormat.ONNX in recipe.formats or not all(integers)):
        raise OptionError("output_type int8: only int8 TFLite files end in integers; formats tflite, quantize int8")
    if recipe.output_type == "int8" and recipe.heatmap:
        raise OptionError("output_type int8: the heat map is float; add heatmap = false")
    if recipe.keep_float and not any(integers):
        raise OptionError("keep_float: nothing is quantized here; quantize int8 or int8-ptq")
    recipe.parity.check()


def _nearest(value: str, known: Iterable[Any]) -> str:
    names = [str(one) for one in known]
    near = difflib.get_close_matches(value, names, n=1, cutoff=0.3)
    return (f"did you mean {near[0]}? " if near else "") + f"Choose one of {', '.join(names)}"


def recipes_folder() -> Path:
    """Where the recipes lie: inside the installed package, or beside it in a clone."""
    package = Path(cxr_edge.__file__).parent
    installed = package / "recipes"
    return installed if installed.is_dir() else package.parent / "export"


def read_recipe(name: str) -> Recipe:
    """A recipe by its file, or by the bare name of one that comes with cxr-edge.

    Raises:
        OptionError: there is none, it is not TOML, or it has an unknown key or value; the nearest valid one is named.
    """
    path = Path(name)
    if path.suffix != ".toml":
        path = recipes_folder() / f"{name}.toml"
        if not path.is_file():
            known = sorted(file.stem for file in recipes_folder().glob("*.toml"))
            raise OptionError(f"recipe {name}: {_nearest(name, known)}, or give a .toml file")
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        return _recipe(content, path.stem)
    except FileNotFoundError:
        raise OptionError(f"{path}: no such recipe") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise OptionError(f"{path}: not a TOML file ({error})") from None
    except OptionError as error:
        raise OptionError(f"{path}: {error}") from None


def _formats(names: Iterable[str]) -> tuple[ArtifactFormat, ...]:
    known = tuple(ArtifactFormat)
    for name in names:
        if name not in known:
            raise OptionError(f"formats {name}: {_nearest(name, known)}")
    return tuple(ArtifactFormat(name) for name in dict.fromkeys(names))


def _quantizations(names: Iterable[str]) -> tuple[Quantization, ...]:
    """Also by an old name. Raises OptionError."""
    known, found = Quantization.exportable(), []
    for name in names:
        try:
            found.append(Quantization(name))
        except ValueError:
            raise OptionError(f"quantize {name}: {_nearest(name, known)}") from None
        if found[-1] not in known:
            raise OptionError(f"quantize {name}: comes of int8 with keep_float; {_nearest(name, known)}")
    return tuple(dict.fromkeys(found))


def _all_or(names: list[str], known: Iterable[str]) -> list[str]:
    """`all` spelled out."""
    return [name for one in names for name in (known if one == "all" else (one,))]


def chosen_recipe(
    name: str | None,
    formats: list[str] | None,
    quantizations: list[str] | None,
    keep_float: list[str] | None,
    heatmap: bool,
    gate: dict[str, float],
) -> Recipe:
    """The named recipe, or one without a name of what the other options say.

    Raises:
        OptionError: there is no such recipe, an option was given beside it, or a value is unknown.
    """
    if name is None:
        recipe = Recipe(
            _formats(_all_or(formats or ["all"], ArtifactFormat)),
            _quantizations(_all_or(quantizations or [Quantization.INT8], Quantization.exportable())),
            keep_float=tuple(keep_float or ()),
            heatmap=heatmap,
            parity=Gate(**gate),
        )
        check_recipe(recipe)
        return recipe
    if formats or quantizations or keep_float or gate or not heatmap:
        raise OptionError(
            "--recipe stands for --format, --quantize, --keep-float, --no-heatmap and the gate; leave them "
            "out, or change a copy of the recipe"
        )
    return read_recipe(name)


def _recipe(content: Mapping[str, Any], name: str) -> Recipe:
    keys = [one.name for one in fields(Recipe) if one.name != "name"]
    demands = [one.name for one in fields(Gate)]
    _require_known(content, keys, "")
    if missing := [key for key in _REQUIRED if key not in content]:
        raise OptionError(f"{missing[0]} is missing; a recipe needs {', '.join(_REQUIRED)}")
    values = dict(content)
    for key in _LISTS:
        if key in values:
            _require(isinstance(values[key], list), key, values[key], 'a list such as ["tflite", "onnx"]')
            for value in values[key]:
                _require(isinstance(value, str), key, value, "a list of strings")
            values[key] = tuple(values[key])
    for key in set(values) - {*_LISTS, "parity", "opset", "heatmap"}:
        _require(isinstance(values[key], str), key, values[key], "a string")
    if "opset" in values:
        _require(type(values["opset"]) is int, "opset", values["opset"], "a whole number")
    if "heatmap" in values:
        _require(type(values["heatmap"]) is bool, "heatmap", values["heatmap"], "true or false")
    gate = values.pop("parity", {})
    _require(isinstance(gate, dict), "parity", gate, "a table [parity]")
    _require_known(gate, demands, "parity.")
    for key, value in gate.items():
        _require(type(value) in (int, float), f"parity.{key}", value, "a share from 0 to 1")
    values.update(formats=_formats(values["formats"]), quantize=_quantizations(values["quantize"]))
    recipe = Recipe(**values, parity=Gate(**gate), name=name)
    check_recipe(recipe)
    return recipe


def _require_known(content: Mapping[str, Any], known: list[str], prefix: str) -> None:
    for key in content:
        if key not in known:
            raise OptionError(f"unknown key {prefix}{key}: {_nearest(key, known)}")


def _require(right: bool, key: str, value: Any, wanted: str) -> None:
    if not right:
        raise OptionError(f"{key} = {value!r}: {wanted} is needed")


def described(recipe: Recipe) -> dict[str, Any]:
    """A recipe as the manifest keeps it, JSON-ready."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(recipe).items()}
