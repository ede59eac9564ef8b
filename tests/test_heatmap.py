"""Where an artifact sees a class: the map's arithmetic, its place on phantoms, and the picture drawn from it."""

from __future__ import annotations

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.kinds import TrainingData
from cxr_edge.imaging.decode import resized
from cxr_edge.imaging.rule import RESIZES
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.prediction.overlay import evidence, write_overlay
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import all_runtimes
from tests.artifacts import some_artifact, some_metadata
from tests.conftest import ANY_GATE, Cli

SIZE = 71
CLASSES = len(LABELS)


def explained(path: Path, images: NDArray[np.uint8], runtime: str) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    session = next(candidate for candidate in all_runtimes() if candidate.name == runtime).load(path, threads=2)
    answers = [session.explain(images[index : index + 1]) for index in range(len(images))]
    return np.concatenate([answer[0] for answer in answers]), np.concatenate([answer[1] for answer in answers])


@pytest.fixture(scope="module")
def images() -> NDArray[np.uint8]:
    drawn = [draw_phantom(LABELS[index % CLASSES], 70_000 + index) for index in range(60)]
    return np.stack([resized(Image.fromarray(phantom.pixels), SIZE) for phantom in drawn])[..., None]


PAIRS = [
    (quantization, kind, runtime.name)
    for quantization in ("float32", "fp16", "int8")
    for runtime in all_runtimes()
    for kind in runtime.formats
]


@pytest.mark.parametrize(("quantization", "kind", "runtime"), PAIRS)
def test_the_mean_of_the_map_is_the_logits(
    bundle: Path, images: NDArray[np.uint8], quantization: str, kind: str, runtime: str
) -> None:
    probabilities, maps = explained(bundle / f"xception-{quantization}.{kind}", images[:12], runtime)
    assert (maps.dtype, maps.shape) == (np.float32, (12, 3, 3, CLASSES))
    logits = maps.mean(axis=(1, 2))
    from_maps = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(from_maps - probabilities).max() < {"float32": 1e-3, "fp16": 0.02, "int8": 0.06}[quantization]


@pytest.mark.parametrize("kind", ["tflite", "onnx"])
def test_int8_heat_maps_correlate_with_those_of_float(bundle: Path, images: NDArray[np.uint8], kind: str) -> None:
    runtime = {"tflite": "litert", "onnx": "onnx_runtime"}[kind]
    (_, float_maps), (_, int8_maps) = (
        explained(bundle / f"xception-{quantization}.{kind}", images, runtime) for quantization in ("float32", "int8")
    )
    assert np.corrcoef(float_maps.reshape(-1), int8_maps.reshape(-1))[0, 1] > 0.97


def test_the_map_of_a_padded_image_lies_where_the_image_did() -> None:
    seen = np.random.default_rng(0).random((100, 100)).astype(np.float32)
    seen[:, 25] = 2
    for size, inner in (((50, 100), seen[:, 25:75]), ((100, 100), seen)):
        assert np.allclose(evidence(seen, size, "pad"), inner / 2)
    wide = evidence(np.ascontiguousarray(seen.T), (100, 50), "pad")
    assert np.allclose(wide, seen.T[25:75] / 2)
    assert evidence(seen, (50, 100)).shape == (100, 50)


@pytest.mark.parametrize("resize", RESIZES)
def test_a_map_without_evidence_gives_none_however_steep_it_is(resize: str) -> None:
    heatmap = np.full((4, 4), -5, np.float32)
    heatmap[1:3, 1:3] = -0.01
    assert not evidence(heatmap, (120, 200), resize).any()
    heatmap[1, 1] = 0.01
    assert evidence(heatmap, (120, 200), resize).max() == 1


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    Image.fromarray(draw_phantom("COVID-19", 5, 300).pixels[:, :240]).save(tmp_path / "chest.png")
    return tmp_path / "chest.png"


@pytest.mark.parametrize("name", ["xception-float32.onnx", "xception-int8.tflite", "xception-int8.onnx"])
def test_predict_draws_the_evidence(bundle: Path, picture: Path, cli: Cli, tmp_path: Path, name: str) -> None:
    output = tmp_path / "overlay.png"
    arguments = ["--artifact", bundle / name, "--heatmap", output, "--json", tmp_path / "x.json"]
    result = cli("predict", picture, *arguments)
    assert result.code == 0, result.err
    assert "overlay.png: evidence for" in result.out
    (row,) = json.loads((tmp_path / "x.json").read_text())["rows"]
    overlay = Image.open(output)
    assert (overlay.width, overlay.mode) == (240, "RGB")
    assert overlay.height > 300
    assert row["label"] in overlay.text["Title"]
    assert "Not a medical device" in overlay.text["Disclaimer"]
    assert "trained on phantoms" in overlay.text["Warning"]
    # Coloured where the map is strongest, and the X-ray as it was where it speaks against the class.
    red, _, blue = np.moveaxis(np.asarray(overlay, dtype=np.int64), -1, 0)
    own = np.array(row["heatmap"])[..., LABELS.index(row["label"])]
    strongest = np.unravel_index(own.argmax(), own.shape)
    assert (red - blue)[strongest[0] * 100 + 50, strongest[1] * 80 + 40] > 40
    if own.min() < 0:
        weakest = np.unravel_index(own.argmin(), own.shape)
        assert (red - blue)[weakest[0] * 100 + 50, weakest[1] * 80 + 40] == 0


@pytest.mark.parametrize(("data", "says_so"), [(TrainingData.PHANTOMS, True), (TrainingData.IMAGES, False)])
def test_a_picture_of_a_model_trained_on_phantoms_says_so(
    picture: Path, tmp_path: Path, data: TrainingData, says_so: bool
) -> None:
    training = replace(some_metadata().training, data=data)
    artifact = some_artifact(tmp_path / "x.onnx", training=training)
    write_overlay(picture, np.zeros((3, 3), np.float32), "Normal", 0.9, artifact, tmp_path / "overlay.png")
    drawn, plain = (np.asarray(Image.open(path).convert("L")) for path in (tmp_path / "overlay.png", picture))
    assert np.array_equal(drawn[: len(plain)], plain)
    assert ("phantoms" in Image.open(tmp_path / "overlay.png").text.get("Warning", "")) == says_so
    # A line more in the legend.
    assert (len(drawn) - len(plain) > 50) == says_so


def test_evidence_below_average_is_not_coloured_and_strong_evidence_is_outlined(picture: Path, tmp_path: Path) -> None:
    heatmap = np.full((6, 6), 0.1, np.float32)
    heatmap[1:3, 1:3] = 1
    artifact = some_artifact(tmp_path / "x.onnx")
    write_overlay(picture, heatmap, "COVID-19", 0.7, artifact, tmp_path / "overlay.png")
    drawn = np.asarray(Image.open(tmp_path / "overlay.png"), dtype=np.int64)
    plain = np.asarray(Image.open(picture), dtype=np.int64)
    coloured = drawn[: len(plain), :, 0] - drawn[: len(plain), :, 2] > 20
    # A place is 40 x 50 pixels.
    assert coloured[60:140, 50:110].mean() > 0.95
    assert np.array_equal(drawn[200:300], np.repeat(plain[200:, :, None], 3, axis=2))
    outline = (drawn[: len(plain)] == (255, 225, 170)).all(axis=2)
    assert 150 < outline.sum() < 1200
    assert not outline[200:].any()
    # A map that is strong everywhere does not tint everything.
    write_overlay(picture, heatmap + 5, "COVID-19", 0.7, artifact, tmp_path / "overlay.png")
    strong = np.asarray(Image.open(tmp_path / "overlay.png"), dtype=np.int64)
    assert np.array_equal(strong[200:300], drawn[200:300])
    assert (strong[60:140, 50:110, 0] - strong[60:140, 50:110, 2] > 20).mean() > 0.95
    legend = drawn[len(plain) :]
    assert (legend == 255).all(axis=2).any() and (legend[..., 0] - legend[..., 2] > 100).any()


@pytest.mark.slow
def test_the_outline_of_a_radiograph_is_thick_and_drawn_in_little_time(tmp_path: Path) -> None:
    size = 2400
    Image.new("L", (size, size), 90).save(tmp_path / "chest.png")
    heatmap = np.zeros((4, 4), np.float32)
    heatmap[:, 2:] = 1
    artifact = some_artifact(tmp_path / "x.onnx")
    seconds = []
    for strength in (0, 1):
        start = time.process_time()
        write_overlay(tmp_path / "chest.png", strength * heatmap, "Normal", 0.9, artifact, tmp_path / "overlay.png")
        seconds.append(time.process_time() - start)
    drawn = np.asarray(Image.open(tmp_path / "overlay.png"))[:size]
    # A vertical line, of 6 pixels to each side of one.
    assert ((drawn == (255, 225, 170)).all(axis=2).sum(axis=1) == 13).all()
    # Without evidence, no outline is drawn.
    assert seconds[1] < 4 * seconds[0]


def test_several_images_go_to_a_folder(bundle: Path, picture: Path, cli: Cli, tmp_path: Path) -> None:
    second = Path(shutil.copy(picture, tmp_path / "other.png"))
    artifact = ["--artifact", bundle / "xception-int8.tflite"]
    assert cli("predict", picture, second, *artifact, "--heatmap", tmp_path / "x.png").code == 2
    before = picture.read_bytes()
    overwritten = cli("predict", picture, *artifact, "--heatmap", picture)
    assert (overwritten.code, picture.read_bytes()) == (2, before)
    assert "would overwrite the image" in overwritten.err
    assert cli("predict", picture, picture, *artifact, "--heatmap", tmp_path).code == 2
    assert cli("predict", picture, *artifact, "--heatmap", tmp_path / "x.jpg").code == 2
    assert cli("predict", picture, second, *artifact, "--heatmap", tmp_path).code == 0
    assert {path.name for path in tmp_path.glob("*-heatmap.png")} == {"chest-heatmap.png", "other-heatmap.png"}


def test_an_artifact_without_a_heat_map_says_so(small_run: Run, picture: Path, cli: Cli, tmp_path: Path) -> None:
    folder = Path(
        shutil.copytree(small_run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("bundle*", "quantized"))
    )
    # In float, which is converted faster: integers without a map are `test_recipes`' Coral.
    options = ["--format", "tflite", "--quantize", "float32", "--no-heatmap"]
    assert cli("export", "--run", folder, *options, *ANY_GATE).code == 0
    artifact = folder / "bundle" / "xception-float32.tflite"
    assert read_artifact(artifact).metadata.contract.heatmap is None
    result = cli("predict", picture, "--artifact", artifact, "--heatmap", tmp_path / "x.png")
    assert result.code == 2
    assert "--no-heatmap" in result.err
    assert not (tmp_path / "x.png").exists()
