"""How each tool is made to write int8 from a run's model, with the calibration images that ours had.

Every file takes `image` uint8 `[N, S, S, 1]` and gives float32 probabilities, as ours do, so that all are run alike.
Each function writes to a path it is given, and may leave other files beside it.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.files import write_json
from cxr_edge.runs import Run

if TYPE_CHECKING:
    import onnx

    from cxr_edge.exporting.export import Exporter


class Source:
    """What the peers start from: a run's model, its artifacts, its calibration images."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def artifact(self, quantization: str, kind: str) -> Path:
        return self.run.bundle / f"xception-{quantization}.{kind}"

    @cached_property
    def exporter(self) -> Exporter:
        """With the options that the run's int8 files were exported with."""
        from cxr_edge.exporting.export import Exporter, ExportOptions
        from cxr_edge.exporting.recipe import Recipe

        calibration = read_artifact(self.artifact(Quantization.INT8, ArtifactFormat.TFLITE)).metadata.calibration
        assert calibration is not None
        recipe = Recipe(tuple(ArtifactFormat), (Quantization.INT8,))
        fine_tuning = calibration["fine_tuning"]
        steps = None if fine_tuning.get("only_if_needed") else fine_tuning["steps"]
        return Exporter(self.run, ExportOptions(recipe, steps, fine_tuning["learning_rate"]))

    def single_images(self) -> list[NDArray[np.uint8]]:
        """The calibration images as batches of one, uint8 `[1, S, S, 1]`."""
        images = self.exporter.quantized.calibration_images()
        return [images[index : index + 1] for index in range(len(images))]


def tf2onnx_keras(source: Source, path: Path) -> None:
    """The int8 model with its activations' quantization marked, as Keras has it: the weights stay float32."""
    import tf2onnx

    from cxr_edge.quantization.build import build_graph
    from cxr_edge.training.backend import keras, tf

    exporter = source.exporter
    quantized = exporter.quantized.quantized_graph(fine_tuned=True)
    simulated = build_graph(quantized.graph, quantized.ranges)
    image = keras.Input((exporter.image_size, exporter.image_size, 1), dtype=tf.uint8, name="image")
    model = keras.Model(image, simulated(tf.cast(image, tf.float32)))
    converted, _ = tf2onnx.convert.from_keras(model, opset=17)
    _save(converted, path)


def tf2onnx_tflite(source: Source, path: Path) -> None:
    """Our int8 TFLite file as tf2onnx translates it."""
    import tf2onnx

    converted, _ = tf2onnx.convert.from_tflite(str(source.artifact("int8", "tflite")), opset=17)
    _save(converted, path)


def _save(model: onnx.ModelProto, path: Path) -> None:
    from cxr_edge.exporting.onnx_float import name_ends

    name_ends(model, batch=None)
    path.write_bytes(model.SerializeToString())


class _Reader:
    """Calibration images the way `quantize_static` wants them, in chunks if it asks for them."""

    def __init__(self, images: list[NDArray[np.uint8]]) -> None:
        self._images = images
        self.set_range(0, len(images))

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._images[start_index:end_index])

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self._rest, None)
        return None if image is None else {"image": image}


def quantize_static_defaults(source: Source, path: Path) -> None:
    """Our float32 ONNX file, nothing chosen: int8 activations and weights, one scale per tensor, min and max."""
    from onnxruntime.quantization import quantize_static

    quantize_static(source.artifact("float32", "onnx"), path, _Reader(source.single_images()))


def quantize_static_tuned(source: Source, path: Path) -> None:
    """Our float32 ONNX file, as ONNX Runtime advises for VNNI: prepared, uint8 activations, int8 channel weights."""
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    prepared = path.with_name("prepared.onnx")
    # Symbolic shapes are for transformers, and would need sympy.
    quant_pre_process(source.artifact("float32", "onnx"), prepared, skip_symbolic_shape=True)
    images = source.single_images()
    quantize_static(
        prepared,
        path,
        _Reader(images),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        calibrate_method=CalibrationMethod.Percentile,
        # Histograms of a few images at a time: all activations of 256 images at 299 px would not fit in memory.
        extra_options={"CalibPercentile": 99.99, "CalibStridedMinMax": math.gcd(len(images), 8)},
    )


def tflite_converter(source: Source, path: Path) -> None:
    """The float model with batch norms folded, post-training int8 by a representative data set."""
    from cxr_edge.quantization.build import build_graph
    from cxr_edge.training.backend import tf

    images = source.single_images()

    def representative_dataset() -> Iterator[list[NDArray[np.float32]]]:
        for image in images:
            yield [image.astype(np.float32)]

    converter = tf.lite.TFLiteConverter.from_keras_model(build_graph(source.exporter.graph))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_dataset
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    path.write_bytes(converter.convert())


def litert_quantizer(source: Source, path: Path) -> None:
    """Our float32 TFLite file by the recipe for static int8."""
    from litert_quantizer import qtyping, quantizer, recipe
    from litert_quantizer.algorithm_manager import AlgorithmName

    quantizing = quantizer.Quantizer(str(source.artifact("float32", "tflite")), recipe.static_wi8_ai8())
    # Without this, the recipe would give the probabilities out as int8, and the heat map's division, whose divisor may
    # be 0 in int8, would fail; it is in float in our own files, too.
    for kept in (qtyping.TFLOperationName.OUTPUT, qtyping.TFLOperationName.DIV):
        quantizing.update_quantization_recipe(".*", kept, algorithm_key=AlgorithmName.NO_QUANTIZE)
    ranges = quantizing.calibrate({"serving_default": [{"image": image} for image in source.single_images()]})
    path.write_bytes(quantizing.quantize(ranges).quantized_model)


#: litert-quantizer's recipe `static_wi8_ai8`, without what fails or rounds the probabilities; see `litert_quantizer`.
_STATIC_INT8 = [
    {
        "regex": ".*",
        "operation": "*",
        "algorithm_key": "min_max_uniform_quantize",
        "op_config": {
            "activation_tensor_config": {
                "num_bits": 8,
                "symmetric": False,
                "granularity": "TENSORWISE",
                "dtype": "INT",
            },
            "weight_tensor_config": {"num_bits": 8, "symmetric": True, "granularity": "CHANNELWISE", "dtype": "INT"},
            "compute_precision": "INTEGER",
        },
    },
    *(
        {"regex": ".*", "operation": kept, "algorithm_key": "no_quantize", "op_config": {"compute_precision": "FLOAT"}}
        for kept in ("OUTPUT", "DIV")
    ),
]
_CALIBRATION = """
import pathlib
import numpy

def get_calibration_data():
    images = numpy.load(pathlib.Path(__file__).with_name("images.npy"))
    return {"serving_default": [{"image": image} for image in images]}
"""


def litert_command(source: Source, path: Path) -> None:
    """Our float32 TFLite file by Google's `litert quantize`, which runs in an environment of its own."""
    with TemporaryDirectory(dir=path.parent) as name:
        folder = Path(name)
        (folder / "calibration.py").write_text(_CALIBRATION, encoding="utf-8")
        write_json(folder / "recipe.json", _STATIC_INT8)
        np.save(folder / "images.npy", np.stack(source.single_images()))
        files = ("--custom-recipe", folder / "recipe.json", "--calibration-data", folder / "calibration.py")
        model = source.artifact("float32", "tflite").resolve()
        subprocess.run(["litert", "quantize", model, *files, "--output", path], check=True)


def nncf_from(kind: str) -> Callable[[Source, Path], None]:
    """Our float32 file of a format by NNCF's defaults, as OpenVINO's own .xml and .bin."""

    def build(source: Source, path: Path) -> None:
        import nncf
        import openvino

        images = source.single_images()
        # Not Core.read_model: an ONNX file's transposes would stay, and NNCF would correct 2 biases instead of 42.
        model = openvino.convert_model(source.artifact("float32", kind))
        openvino.save_model(nncf.quantize(model, nncf.Dataset(images), subset_size=len(images)), path)

    return build
