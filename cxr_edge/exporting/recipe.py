"""Export recipes: what a kind of device wants, as data. `export/README.md` explains them to their writers."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import cxr_edge
from cxr_edge.errors import OptionError
from cxr_edge.evaluation.gate import Gate

FORMATS = ("tflite", "onnx")
QUANTIZATIONS = ("none", "fp16", "int8", "int8-ptq")
#: Integer types of ONNX' activations: uint8 for x86 with VNNI (its dot product takes unsigned by signed), the same with
#: weights of 7 bits for x86 without (16-bit sums of two products cannot overflow), int8 for Arm, int8 with every zero
#: point at 0 for TensorRT.
FLAVOURS = ("uint8", "uint8-reduced", "int8", "int8-symmetric")
#: ONNX opsets: 13 brought scales a channel, 18 is the newest that tf2onnx writes.
OPSETS = tuple(range(13, 19))

_CHOICES: dict[str, tuple[Any, ...]] = {
    "formats": FORMATS,
    "quantize": QUANTIZATIONS,
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

    formats: tuple[str, ...]
    quantize: tuple[str, ...]
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

    def label(self, quantization: str) -> str:
        """What an artifact is called: one with layers left in float is mixed, and not int8."""
        return quantization.replace("int8", "mixed") if self.keep_float else quantization

    @property
    def symmetric(self) -> bool:
        """Whether every zero point is 0."""
        return self.integer_flavour == "int8-symmetric"


def check_recipe(recipe: Recipe) -> None:
    """Raises OptionError for an unknown value, and for values that cannot go together."""
    for key, known in _CHOICES.items():
        given = getattr(recipe, key)
        for value in given if isinstance(given, tuple) else (given,):
            if value not in known:
                raise OptionError(f"{key} {value}: {_nearest(str(value), known)}")
    if not recipe.formats or not recipe.quantize:
        raise OptionError("formats and quantize: name one at least")
    integers = any(quantization.startswith("int8") for quantization in recipe.quantize)
    if recipe.output_type == "int8" and ("onnx" in recipe.formats or set(recipe.quantize) - {"int8", "int8-ptq"}):
        raise OptionError("output_type int8: only int8 TFLite files end in integers; formats tflite, quantize int8")
    if recipe.output_type == "int8" and recipe.heatmap:
        raise OptionError("output_type int8: the heat map is float; add heatmap = false")
    if recipe.keep_float and not integers:
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


def _all_or(given: list[str], known: tuple[str, ...]) -> tuple[str, ...]:
    """`all` spelled out; repeated names once, in the order given."""
    return tuple(dict.fromkeys(name for one in given for name in (known if one == "all" else (one,))))


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
            _all_or(formats or ["all"], FORMATS),
            _all_or(quantizations or ["int8"], QUANTIZATIONS),
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
