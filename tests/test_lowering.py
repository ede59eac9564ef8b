"""The flavours of int8 ONNX: what their integers are, and that they answer as the TFLite file does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import numpy_helper

from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.errors import ArtifactError
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.exporting.lowering import lower_to_onnx
from cxr_edge.inspection.operators import computation_of
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


def lowered(bundle: Path, folder: Path, flavour: str, opset: int = 17) -> Path:
    path = folder / f"{flavour}.onnx"
    onnx.save(lower_to_onnx((bundle / "xception-int8.tflite").read_bytes(), flavour, opset, None), path)
    return path


def constants(path: Path) -> dict[str, NDArray[np.generic]]:
    return {one.name: numpy_helper.to_array(one) for one in onnx.load(path).graph.initializer}


@pytest.mark.parametrize("flavour", ["uint8", "int8"])
def test_a_flavour_answers_as_the_tflite_file(
    bundle: Path, tmp_path: Path, images: NDArray[np.uint8], tflite_probabilities: NDArray[np.float32], flavour: str
) -> None:
    path = lowered(bundle, tmp_path, flavour)
    found = score_images(ONNXRuntimeSession(path, 2, as_on_arm=flavour == "int8"), images)
    assert_same_answers(bundle, found, tflite_probabilities)
    counts = computation_of(path, "onnx")
    assert (counts.integer_convolutions, counts.float_convolutions) == (75, 1)


def test_reduced_range_cannot_overflow_and_stays_close(
    bundle: Path, tmp_path: Path, images: NDArray[np.uint8], tflite_probabilities: NDArray[np.float32]
) -> None:
    path = lowered(bundle, tmp_path, "uint8-reduced")
    kernels = [value for value in constants(path).values() if value.dtype == np.int8 and value.ndim > 1]
    assert len(kernels) == 77
    # VPMADDUBSW adds two products of an unsigned and a signed byte in 16 bits.
    assert all(2 * 255 * int(np.abs(kernel.astype(int)).max()) <= 32767 for kernel in kernels)
    full = constants(lowered(bundle, tmp_path, "uint8"))
    assert any(2 * 255 * int(np.abs(value.astype(int)).max()) > 32767 for value in full.values() if value.ndim > 1)
    found = score_images(runtime_named("onnx").load(path, 2), images)
    assert (found.argmax(axis=1) == tflite_probabilities.argmax(axis=1)).mean() >= 0.95
    assert np.abs(found - tflite_probabilities).mean() <= 0.03


def test_the_oldest_opset_computes_the_same(
    bundle: Path, tmp_path: Path, images: NDArray[np.uint8], tflite_probabilities: NDArray[np.float32]
) -> None:
    path = lowered(bundle, tmp_path, "uint8", opset=13)
    assert onnx.load(path).opset_import[0].version == 13
    found = score_images(runtime_named("onnx").load(path, 2), images[:20])
    assert_same_answers(bundle, found, tflite_probabilities[:20])


def test_symmetric_needs_a_file_of_its_own(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="zero point"):
        lowered(bundle, tmp_path, "int8-symmetric")
