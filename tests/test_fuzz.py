"""What anybody may send: no crash, no hang, no traceback, and nothing damaged that is taken for whole."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from cxr_edge.artifacts.bundle import MANIFEST, read_manifest
from cxr_edge.benchmarking.options import parse_threads
from cxr_edge.data.layouts import find_data_set
from cxr_edge.errors import CxrEdgeError
from cxr_edge.exporting.recipe_file import read_recipe
from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.records import parse_json
from tests.tiny import write_bundle_with_references

#: Cases in every run, and of `-m exhaustive`.
EXHAUSTIVE = pytest.mark.exhaustive


def some(few: int, many: int) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("count", [few, pytest.param(many, marks=EXHAUSTIVE)])


def write_images(folder: Path) -> None:
    """One of each format, and some of their kinds."""
    folder.mkdir()
    grey = Image.fromarray(draw_phantom("Normal", 3, 96).pixels)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 200)
    for name, picture, options in (
        ("grey.png", grey, {}), ("colour.png", grey.convert("RGB"), {}), ("palette.png", grey.convert("P"), {}),
        ("deep.png", deep, {}), ("grey.jpg", grey, {}), ("colour.jpg", grey.convert("RGB"), {"progressive": True}),
        ("grey.bmp", grey, {}), ("grey.tif", grey, {}), ("deep.tif", deep, {"compression": "tiff_lzw"}),
        ("float.tif", Image.fromarray(np.asarray(grey, dtype=np.float32)), {}), ("grey.webp", grey.convert("RGB"), {}),
    ):  # fmt: skip
        picture.save(folder / name, **options)
    if _has("pydicom"):
        from tests.test_dicom import written

        written(folder / "eight.dcm", np.asarray(grey), 8)
        written(folder / "twelve.dcm", np.asarray(grey).astype(np.uint16) * 16, 12, WindowCenter=2000, WindowWidth=900)


def _has(module: str) -> bool:
    from importlib.util import find_spec

    return find_spec(module) is not None


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    write_images(folder / "images")
    write_bundle_with_references(folder / "bundle")
    return folder


def fuzzed(kind: str, folder: Path, count: int) -> dict[str, int]:
    """How many cases ended how. Asserts that no case ended as it must not, and that the process lived."""
    result = subprocess.run(
        [sys.executable, "-m", "tests.fuzzing", kind, str(folder), "0", str(count)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        env={**os.environ, "CXR_EDGE_CACHE": str(folder / "cache")},
    )
    assert result.returncode == 0, f"status {result.returncode}, the last case was {result.stderr[-400:]}"
    outcomes, faults = json.loads(result.stdout.splitlines()[-1])
    assert faults == []
    assert sum(outcomes.values()) == count
    print(f"{kind}: {outcomes}")
    return dict(outcomes)


@some(300, 20_000)
def test_damaged_images(material: Path, count: int) -> None:
    outcomes = fuzzed("image", material, count)
    assert outcomes["refused"] > count / 10 and outcomes["read"] > count / 10


@some(60, 3_000)
@pytest.mark.parametrize("kind", ["wrong-hashes", "right-hashes", "loose"])
def test_damaged_bundles(material: Path, kind: str, count: int) -> None:
    outcomes = fuzzed(kind, material, count)
    assert outcomes["refused"] > count / 4


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


def places_of(value: Any, place: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where every value in a JSON value is."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place, *(deeper for key, own in inside for deeper in places_of(own, (*place, key)))]


def few(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
        database=None,
    )


@pytest.mark.slow
@few(150)
@given(data=st.data())
def test_any_manifest_is_read_or_refused(material: Path, data: st.DataObject, tmp_path: Path) -> None:
    manifest = json.loads((material / "bundle" / MANIFEST).read_text())
    place = data.draw(st.sampled_from([place for place in places_of(manifest) if place]))
    target = manifest
    for step in place[:-1]:
        target = target[step]
    target[place[-1]] = data.draw(JSON)
    (tmp_path / MANIFEST).write_text(json.dumps(manifest))
    _read_or_refused(lambda: read_manifest(tmp_path))


@few(150)
@given(text=st.text(max_size=200) | st.binary(max_size=200))
def test_any_text_is_json_or_a_value_error(text: str | bytes) -> None:
    with suppress(ValueError):
        parse_json(text)


@few(100)
@given(text=st.text(max_size=12))
def test_any_number_of_threads_is_parsed_or_refused(text: str) -> None:
    _read_or_refused(lambda: parse_threads(text))


VALID_RECIPE: dict[str, Any] = {
    "device": "any", "why": "a test", "formats": ["tflite", "onnx"], "quantize": ["int8"], "activation_type": "uint8",
    "reduced_range": True, "symmetric_activations": False, "output_type": "float32", "batch": "any",
    "dense_weights": "per-channel", "opset": 17, "keep_float": ["hidden"], "heatmap": False,
    "parity": {"min_agreement": 0.9},
}  # fmt: skip
RECIPE = st.dictionaries(st.sampled_from([*VALID_RECIPE, "x"]), JSON, max_size=2).map(
    lambda changes: VALID_RECIPE | changes
)


def toml_lines(recipe: dict[str, Any]) -> list[str]:
    """Most values are written alike in JSON and TOML; the others make a file that is refused."""
    return [
        f"{key} = {{ {', '.join(toml_lines(value))} }}" if isinstance(value, dict) else f"{key} = {json.dumps(value)}"
        for key, value in recipe.items()
    ]


def test_the_recipe_that_is_changed_at_random_is_valid(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("\n".join(toml_lines(VALID_RECIPE)), encoding="utf-8")
    assert read_recipe(str(tmp_path / "x.toml")).parity.min_agreement == 0.9


@few(100)
@given(recipe=RECIPE)
def test_any_recipe_is_read_or_refused(recipe: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("\n".join(toml_lines(recipe)), encoding="utf-8")
    _read_or_refused(lambda: read_recipe(str(tmp_path / "x.toml")))


@few(60)
@given(
    rows=st.lists(st.lists(st.text(max_size=12), min_size=1, max_size=4), max_size=5), content=st.binary(max_size=60)
)
def test_any_table_is_read_or_refused(rows: list[list[str]], content: bytes, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    for text in ("path,label\n" + "\n".join(",".join(row) for row in rows)).encode("utf-8", "replace"), content:
        table.write_bytes(text)
        _read_or_refused(lambda: find_data_set(table))


def _read_or_refused(read: Any) -> None:
    with suppress(CxrEdgeError):
        read()
