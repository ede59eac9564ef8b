"""A trained model's int8 ONNX answers as its TFLite file does, in every activation format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.inspection.operators import computation_of
from cxr_edge.lowering.activations import ActivationFormat, ActivationType
from cxr_edge.lowering.lower import lower_to_onnx
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import runtime_named
from cxr_edge.runtimes.onnx_runtime import ONNXRuntimeSession
from tests.conftest import assert_same_answers


@pytest.fixture(scope="module")
def images(run: Run) -> NDArray[np.uint8]:
    """The test split, uint8 `[81, 71, 71, 1]`."""
    return np.asarray(decoded(run_split(run), "test", 71))


@pytest.fixture(scope="module")
def tflite_probabilities(bundle: Path, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return score_images(runtime_named("litert").load(bundle / "xception-int8.tflite", 2), images)


def lowered(
    bundle: Path,
    folder: Path,
    activations: ActivationFormat,
    opset: int = 17,
    representative: NDArray[np.uint8] | None = None,
) -> Path:
    path = folder / "lowered.onnx"
    tflite = (bundle / "xception-int8.tflite").read_bytes()
    onnx.save(lower_to_onnx(tflite, activations, opset, None, representative), path)
    return path


@pytest.mark.parametrize("activation_type", ActivationType)
def test_both_activation_types_agree_with_the_tflite_file(
    bundle: Path,
    tmp_path: Path,
    images: NDArray[np.uint8],
    tflite_probabilities: NDArray[np.float32],
    activation_type: ActivationType,
) -> None:
    path = lowered(bundle, tmp_path, ActivationFormat(activation_type))
    session = ONNXRuntimeSession(path, 2, as_on_arm=activation_type is ActivationType.INT8)
    assert_same_answers(bundle, score_images(session, images), tflite_probabilities)
    computation = computation_of(path, ArtifactFormat.ONNX)
    assert (computation.convolutions(integer=True), computation.convolutions(integer=False)) == (39, 1)


def test_a_reduced_range_stays_close(
    bundle: Path, tmp_path: Path, images: NDArray[np.uint8], tflite_probabilities: NDArray[np.float32]
) -> None:
    path = lowered(bundle, tmp_path, ActivationFormat(reduced_range=True), representative=images[:8])
    constants = [numpy_helper.to_array(initializer) for initializer in onnx.load(path).graph.initializer]
    kernels = [values for values in constants if values.dtype == np.int8 and values.ndim > 1]
    assert len(kernels) == 41
    # VPMADDUBSW adds two products of an unsigned and a signed byte in 16 bits.
    assert all(2 * 255 * int(np.abs(kernel.astype(int)).max()) <= 32767 for kernel in kernels)
    probabilities = score_images(runtime_named("onnx").load(path, 2), images)
    assert (probabilities.argmax(axis=1) == tflite_probabilities.argmax(axis=1)).mean() >= 0.95
    assert np.abs(probabilities - tflite_probabilities).mean() <= 0.03


def test_the_oldest_opset_computes_the_same(
    bundle: Path, tmp_path: Path, images: NDArray[np.uint8], tflite_probabilities: NDArray[np.float32]
) -> None:
    path = lowered(bundle, tmp_path, ActivationFormat(), opset=13)
    assert onnx.load(path).opset_import[0].version == 13
    probabilities = score_images(runtime_named("onnx").load(path, 2), images[:20])
    assert_same_answers(bundle, probabilities, tflite_probabilities[:20])
