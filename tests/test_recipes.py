"""Recipes are valid, bad ones are refused, and an export follows its recipe."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert.interpreter import Interpreter
from onnx import numpy_helper

from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.bundle import read_bundle, read_manifest
from cxr_edge.artifacts.tflite_file import read_tflite
from cxr_edge.errors import OptionError
from cxr_edge.exporting.recipe_file import read_recipe, recipes_folder
from cxr_edge.lowering.activations import ActivationFormat, ActivationType
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from tests.conftest import ANY_GATE, Cli, plain_rounding

EXPECTED = {
    "x86-vnni", "x86-avx2", "raspberry-pi-4", "raspberry-pi-5", "jetson-orin", "android", "coral-edge-tpu", "browser",
}  # fmt: skip
LEAST = 'device = "a box"\nwhy = "because"\nformats = ["tflite"]\nquantize = ["int8-ptq"]\n'


def test_every_recipe_is_there_and_valid() -> None:
    assert {path.stem for path in recipes_folder().glob("*.toml")} >= EXPECTED
    for name in EXPECTED:
        recipe = read_recipe(name)
        assert recipe.name == name
        assert recipe.device
        assert len(recipe.why) > 100


def built(root: Path, target: Path) -> Path:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=root, check=True, capture_output=True)
    return next(target.glob("*.whl"))


def test_a_wheel_holds_the_recipes_and_depends_on_the_sources_alone(tmp_path: Path) -> None:
    root, clone = Path(__file__).parents[1], tmp_path / "clone"
    first = built(root, tmp_path / "first")
    for name in ("cxr_edge", "export"):
        shutil.copytree(root / name, clone / name, copy_function=shutil.copyfile)
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copyfile(root / name, clone / name)
    for path in clone.rglob("*.py"):
        path.chmod(0o600)
    assert built(clone, tmp_path / "second").read_bytes() == first.read_bytes()
    with zipfile.ZipFile(first) as wheel:
        assert {f"cxr_edge/recipes/{name}.toml" for name in EXPECTED} <= set(wheel.namelist())


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ('formatz = ["onnx"]', "formats"),
        ('integer_flavour = "uint7"', "uint8"),
        ('integer_flavour = "int8-symetric"', "int8-symmetric"),
        ('integer_flavour = "int8"\nreduced_range = true', "reduced_range"),
        ('input_type = "float32"', "uint8"),
        ('activation_type = "int16"', "uint8, int8"),
        ('reduced_range = "yes"', "true or false"),
        ("symmetric_activations = true", "int8"),
        ('dense_weights = "tensor"', "per-tensor"),
        ('output_type = "float"', "float32"),
        ("opset = 12", "13"),
        ('opset = "17"', "whole number"),
        ('batch = "1"', "any, one"),
        ('keep_float = "block1_conv1"', "list"),
        ("[parity]\nmin_agrement = 0.9", "min_agreement"),
        ("[parity]\nmin_agreement = 95", "0 to 1"),
        ("device", "TOML"),
    ],
)
def test_a_wrong_line_is_refused_with_the_nearest_right_one(cli: Cli, tmp_path: Path, line: str, named: str) -> None:
    (tmp_path / "mine.toml").write_text(LEAST + line + "\n")
    result = cli("export", "--recipe", tmp_path / "mine.toml")
    assert result.code == 2
    assert named in result.err
    assert "mine.toml" in result.err


@pytest.mark.parametrize(
    ("flavour", "activations"),
    [
        ("uint8", ActivationFormat()),
        ("uint8-reduced", ActivationFormat(reduced_range=True)),
        ("int8", ActivationFormat(ActivationType.INT8)),
        ("int8-symmetric", ActivationFormat(ActivationType.INT8, symmetric=True)),
    ],
)
def test_an_early_recipe_is_still_read(tmp_path: Path, flavour: str, activations: ActivationFormat) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(LEAST + f'integer_flavour = "{flavour}"\ninput_type = "uint8"\n')
    assert read_recipe(str(path)).activations == activations


def test_a_recipe_in_the_manifest_has_the_keys_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(LEAST + "reduced_range = true\n")
    record = json.loads(json.dumps(to_json(read_recipe(str(tmp_path / "mine.toml")))))
    assert record["formats"] == ["tflite"]
    assert (record["activation_type"], record["reduced_range"]) == ("uint8", True)
    assert (record["output_type"], record["batch"], record["name"]) == ("float32", "any", "mine")


def test_a_missing_key_and_an_unknown_recipe_are_refused(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text('formats = ["onnx"]\n')
    with pytest.raises(OptionError, match="device is missing"):
        read_recipe(str(tmp_path / "mine.toml"))
    (tmp_path / "mine.toml").rename(tmp_path / "cascade.toml")
    with pytest.raises(OptionError, match="bundle-cascade is for cascades; rename it"):
        read_recipe(str(tmp_path / "cascade.toml"))
    result = cli("export", "--recipe", "rasberry-pi5")
    assert result.code == 2
    assert "raspberry-pi-5" in result.err
    assert cli("export", "--recipe", "browser", "--format", "onnx").code == 2


@pytest.mark.parametrize(
    ("lines", "is_accepted"),
    [
        ('formats = ["onnx"]\nquantize = ["int8"]', False),
        ('formats = ["onnx"]\nquantize = ["int8"]\nkeep_float = ["block2_*"]', False),
        ('formats = ["onnx"]\nquantize = ["int8"]\nkeep_float = ["block2_*", "block1_conv?"]', True),
        ('formats = ["tflite"]\nquantize = ["int8"]', True),
        ('formats = ["onnx"]\nquantize = ["fp16"]', True),
    ],
)
def test_symmetric_activations_need_the_first_layer_in_float_before_any_export(
    tmp_path: Path, lines: str, is_accepted: bool
) -> None:
    path = tmp_path / "mine.toml"
    symmetric = 'activation_type = "int8"\nsymmetric_activations = true\n'
    path.write_text(f'device = "a box"\nwhy = "because"\n{symmetric}{lines}\n')
    if is_accepted:
        assert read_recipe(str(path)).symmetric_activations
        return
    with pytest.raises(OptionError, match=r'mine\.toml: .* add keep_float = \["block1_conv1"\]'):
        read_recipe(str(path))


def test_int8_output_is_refused_for_onnx(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(LEAST.replace("tflite", "onnx") + 'output_type = "int8"\n')
    with pytest.raises(OptionError, match="output_type"):
        read_recipe(str(tmp_path / "mine.toml"))


@pytest.fixture(scope="module")
def copy(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A copy of the run, to write other bundles to."""
    folder = tmp_path_factory.mktemp("recipes") / "run"
    shutil.copytree(small_run.folder, folder, ignore=shutil.ignore_patterns("bundle"))
    return Run(folder)


def ptq(name: str, folder: Path) -> Path:
    """A recipe with int8-ptq in int8's place: the same file, without minutes of fine-tuning."""
    path = folder / f"{name}.toml"
    path.write_text((recipes_folder() / f"{name}.toml").read_text().replace('"int8"]', '"int8-ptq"]'))
    return path


def test_coral_gets_integers_from_end_to_end(copy: Run, cli: Cli, tmp_path: Path) -> None:
    recipe = ptq("coral-edge-tpu", tmp_path)
    assert cli("export", "--run", copy.folder, "--recipe", recipe, "--min-agreement", "0.5").code == 2
    with plain_rounding():
        result = cli("export", "--run", copy.folder, "--recipe", recipe)
    # Without fine-tuning it may miss the recipe's parity demands.
    assert result.code in (0, 3), result.err
    folder = copy.bundle_of("coral-edge-tpu")
    assert sorted(path.name for path in folder.iterdir()) == [
        "MODEL_CARD.md",
        "manifest.json",
        "reference.npz",
        "xception-int8-ptq.tflite",
    ]
    path = folder / "xception-int8-ptq.tflite"
    interpreter = Interpreter(str(path))
    (image,), (probabilities,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (image["dtype"], list(image["shape_signature"])) == (np.uint8, [1, 71, 71, 1])
    assert (probabilities["dtype"], list(probabilities["shape_signature"])) == (np.int8, [1, 3])
    model = read_tflite(path.read_bytes())
    for operator in model.operators:
        assert all(model.tensors[index].dtype != "float32" for index in (*operator.inputs, *operator.outputs))
        if operator.kind == "FULLY_CONNECTED":
            assert len(model.tensors[operator.inputs[1]].scales) == 1
    assert read_manifest(folder).shared.recipe["name"] == "coral-edge-tpu"
    assert to_json(read_artifact(path).metadata.contract.probabilities) == {
        "name": "probabilities", "type": "int8", "shape": [1, 3], "scale": 1 / 256, "zero_point": -128,
    }  # fmt: skip
    # It goes through the rest of the tool like any other: the bundle written last is the one taken.
    picture = next((copy.folder / "phantoms" / "Normal").iterdir())
    assert cli("predict", picture, "--run", copy.folder, "--runtime", "litert", "--json", tmp_path / "x.json").code == 0
    (row,) = json.loads((tmp_path / "x.json").read_text())["rows"]
    assert sum(row["probabilities"]) == pytest.approx(1, abs=0.02)
    arguments = ["--run", copy.folder, "--runtime", "openvino", "--json", tmp_path / "y.json"]
    assert cli("predict", picture, *arguments).code == 0
    (other,) = json.loads((tmp_path / "y.json").read_text())["rows"]
    assert other["probabilities"] == pytest.approx(row["probabilities"], abs=0.1)
    few = ("--train-images", 30, "--shift-images", 6)
    assert cli("verify", "--run", copy.folder, *ANY_GATE, *few).code == 0


def test_jetson_gets_zero_points_of_zero(copy: Run, cli: Cli, tmp_path: Path) -> None:
    recipe = tmp_path / "jetson-orin.toml"
    text = (recipes_folder() / "jetson-orin.toml").read_text()
    recipe.write_text(text.replace('["fp16", "int8"]', '["int8-ptq"]'))
    with plain_rounding():
        result = cli("export", "--run", copy.folder, "--recipe", recipe)
    assert result.code in (0, 3), result.err
    (artifact,) = read_bundle(copy.bundle_of("jetson-orin"))
    # The first convolution, in float, makes it mixed.
    assert artifact.name == "xception-mixed-ptq.onnx"
    assert artifact.parity is not None
    assert artifact.parity.result.agreement >= 0.9
    model = onnx.load(artifact.path)
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    zero_points = [
        constants[node.input[2]] for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")
    ]
    assert len(zero_points) > 50
    assert all(value.dtype == np.int8 and not value.any() for value in zero_points)
    assert [dimension.dim_value for dimension in model.graph.input[0].type.tensor_type.shape.dim] == [1, 71, 71, 1]
