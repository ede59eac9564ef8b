"""Images that cannot be chest X-rays are refused, and doubtful ones get a warning, wherever images are classified."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cxr_edge import Classifier, ImageError, SkippedImage
from cxr_edge.imaging.plausibility import open_plausible
from cxr_edge.phantoms.drawing import draw_phantom
from tests.conftest import Cli
from tests.tiny import SIZE

#: As far as the rule can tell, a radiograph.
PHANTOM = draw_phantom("Normal", 3, 160).pixels


def flat(grey: int) -> Callable[[], Image.Image]:
    return lambda: Image.fromarray(np.full((90, 90), grey, np.uint8))


def nearly_grey() -> Image.Image:
    noise = np.random.default_rng(0).normal(128, 4, (90, 90))
    return Image.fromarray(noise.astype(np.uint8))


def strip() -> Image.Image:
    return Image.fromarray(PHANTOM).resize((400, 100))


def photograph() -> Image.Image:
    """Sky, grass and a red house."""
    pixels = np.random.default_rng(0).normal(0, 12, (120, 160, 3)) + np.float64([90, 140, 220])
    pixels[70:] += np.float64([0, 10, -160])
    pixels[40:90, 50:100] += np.float64([110, -80, -90])
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


REFUSED = {
    "black": (flat(0), "one grey"),
    "grey": (flat(128), "one grey"),
    "white": (flat(255), "one grey"),
    "noise around grey": (nearly_grey, "one grey"),
    "strip": (strip, "not the shape"),
    "photograph": (photograph, "many colours"),
    "photograph with a palette": (lambda: photograph().quantize(64), "many colours"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_a_chest_x_ray_is_refused(name: str, tmp_path: Path) -> None:
    make, reason = REFUSED[name]
    make().save(tmp_path / "x.png")
    with pytest.raises(ImageError, match=rf"x\.png: refused.*{reason}"):
        open_plausible(tmp_path / "x.png")


def violet() -> Image.Image:
    tinted = PHANTOM[..., None] * np.float64([0.8, 0.6, 1.0])
    return Image.fromarray(tinted.astype(np.uint8))


def exposed() -> Image.Image:
    pixels = np.where(np.indices((100, 100))[0] < 70, 255, 100).astype(np.uint8)
    return Image.fromarray(pixels)


DOUBTED = {
    "violet film": (violet, "in colour"),
    "long": (lambda: Image.fromarray(PHANTOM).resize((200, 100)), "unusual shape"),
    "overexposed": (exposed, "black and white"),
}


@pytest.mark.parametrize("name", DOUBTED)
def test_a_doubtful_chest_x_ray_gets_a_warning(name: str, tmp_path: Path) -> None:
    make, reason = DOUBTED[name]
    make().save(tmp_path / "x.png")
    (warning,) = open_plausible(tmp_path / "x.png").warnings
    assert reason in warning


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "I;16"])
def test_a_grey_picture_passes_in_any_mode(mode: str, tmp_path: Path) -> None:
    grey = Image.fromarray(PHANTOM)
    if mode == "RGBA":
        # A few coloured letters are no colour picture.
        grey = grey.convert("RGBA")
        grey.paste((255, 0, 0, 255), (4, 4, 30, 12))
    picture = Image.fromarray(PHANTOM.astype(np.uint16) * 100) if mode == "I;16" else grey.convert(mode)
    picture.save(tmp_path / "x.png")
    assert open_plausible(tmp_path / "x.png").warnings == ()


@pytest.mark.parametrize(
    ("tags", "refused"),
    [
        ({"Modality": "CT"}, True),
        ({"Modality": "MR"}, True),
        ({"Modality": "DX", "BodyPartExamined": "ABDOMEN"}, False),
        ({"Modality": "CR", "ViewPosition": "LL"}, False),
    ],
)
def test_another_modality_is_refused_and_another_view_gets_a_warning(
    tags: dict[str, str], refused: bool, tiny: Path, tmp_path: Path
) -> None:
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from tests.test_dicom import written

    path = written(tmp_path / "IM0001", PHANTOM, 8, **tags)
    (answer,) = Classifier.open(tiny / "xception-float32.onnx", "onnx", 1).stream(path)
    tag_value = list(tags.values())[-1]
    if refused:
        assert isinstance(answer, SkippedImage)
        assert f"refused, not a radiograph (Modality is {tag_value})" in answer.reason
    else:
        assert not isinstance(answer, SkippedImage)
        assert tag_value in answer.warnings[-1]
    chest = written(tmp_path / "IM0002", PHANTOM, 8, Modality="DX", BodyPartExamined="CHEST")
    assert open_plausible(chest).warnings == ()


def test_arrays_files_and_evaluations_follow_the_same_rule(tiny: Path, cli: Cli, tmp_path: Path) -> None:
    artifact = tiny / "xception-float32.onnx"
    with pytest.raises(ImageError, match="one grey"):
        Classifier.open(artifact, "onnx", 1).predict(np.zeros((SIZE, SIZE), np.uint8))
    for label, name in (("COVID-19", "black"), ("Normal", "long"), ("Normal", "fine")):
        (tmp_path / "data" / label).mkdir(parents=True, exist_ok=True)
        image = {"black": flat(0)(), "long": DOUBTED["long"][0](), "fine": Image.fromarray(PHANTOM)}[name]
        image.save(tmp_path / "data" / label / f"{name}.png")
    Image.fromarray(PHANTOM).save(tmp_path / "data" / "COVID-19" / "other.png")
    output = tmp_path / "x.json"
    predicted = cli("predict", tmp_path / "data", "--artifact", artifact, "--runtime", "onnx", "--json", output)
    assert predicted.code == 0, predicted.err
    assert "black.png: refused" in predicted.out
    assert "long.png: an unusual shape" in predicted.out
    assert len(json.loads(output.read_text())["rows"]) == 3
    refused = cli("evaluate", "--artifact", artifact, "--data", tmp_path / "data")
    assert refused.code == 2
    assert "black.png: refused" in refused.err
    evaluated = cli(
        "evaluate", "--artifact", artifact, "--data", tmp_path / "data", "--on-bad-image", "skip", "--json", output
    )
    assert evaluated.code == 0, evaluated.err
    assert "1 of 4 images, such as" in evaluated.out and "long.png: an unusual shape" in evaluated.out
    assert [Path(skipped["path"]).name for skipped in json.loads(output.read_text())["skipped"]] == ["black.png"]
