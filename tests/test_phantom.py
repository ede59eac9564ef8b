"""The phantom data set: deterministic, anatomically placed, and not solvable from brightness."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from cxr_edge.phantoms.data_set import contact_sheet, write_phantoms
from cxr_edge.phantoms.drawing import LABELS, draw_phantom

DISEASES = ("COVID-19", "Viral Pneumonia")


@pytest.mark.parametrize("label", LABELS)
def test_same_arguments_give_the_same_bytes(label: str) -> None:
    first, second = draw_phantom(label, seed=11, size=96), draw_phantom(label, seed=11, size=96)
    assert first.pixels.tobytes() == second.pixels.tobytes()
    assert first.opacity.tobytes() == second.opacity.tobytes()


@pytest.mark.parametrize("label", LABELS)
def test_another_seed_gives_another_patient(label: str) -> None:
    first, second = draw_phantom(label, seed=1, size=96), draw_phantom(label, seed=2, size=96)
    assert np.mean(first.pixels != second.pixels) > 0.5


@pytest.mark.parametrize("size", [64, 97, 256])
@pytest.mark.parametrize("label", LABELS)
def test_shapes_and_types(label: str, size: int) -> None:
    phantom = draw_phantom(label, seed=3, size=size)
    assert phantom.label == label
    assert phantom.pixels.shape == phantom.opacity.shape == (size, size)
    assert phantom.pixels.dtype == np.uint8
    assert phantom.opacity.dtype == np.float32
    assert phantom.opacity.min() >= 0.0
    assert phantom.opacity.max() <= 1.0


def test_unknown_label_and_tiny_size_are_refused() -> None:
    with pytest.raises(ValueError, match="Viral Pneumonia"):
        draw_phantom("Tuberculosis", seed=0)
    with pytest.raises(ValueError, match="64"):
        draw_phantom("Normal", seed=0, size=63)


def test_size_changes_the_sampling_and_not_the_patient() -> None:
    large, small = draw_phantom("COVID-19", seed=5, size=256), draw_phantom("COVID-19", seed=5, size=128)
    reduced = np.asarray(Image.fromarray(large.pixels).reduce(2))
    assert np.corrcoef(reduced.ravel(), small.pixels.ravel())[0, 1] > 0.98


def test_normal_has_no_opacity_and_disease_has_some() -> None:
    for seed in range(10):
        assert not draw_phantom("Normal", seed, size=96).opacity.any()
        for label in DISEASES:
            assert (draw_phantom(label, seed, size=96).opacity > 0.15).mean() > 0.005


def test_disease_is_bilateral_and_brightens_where_it_was_drawn() -> None:
    for label in DISEASES:
        for seed in range(10):
            diseased, healthy = draw_phantom(label, seed, size=128), draw_phantom("Normal", seed, size=128)
            share_right = diseased.opacity[:, :64].sum() / diseased.opacity.sum()
            assert 0.1 < share_right < 0.9
            change = diseased.pixels.astype(float) - healthy.pixels
            assert change[diseased.opacity > 0.3].mean() > change[diseased.opacity == 0.0].mean() + 8


def _offsets_from_centre(label: str, size: int = 128) -> tuple[float, float]:
    """Mean distance of the opacity from the midline, and its mean height below the centre, over half the width."""
    axis = (np.arange(size) + 0.5) / (size / 2) - 1
    lateral, low = [], []
    for seed in range(30):
        opacity = draw_phantom(label, seed, size).opacity.astype(np.float64)
        lateral.append((opacity * np.abs(axis[None, :])).sum() / opacity.sum())
        low.append((opacity * axis[:, None]).sum() / opacity.sum())
    return float(np.mean(lateral)), float(np.mean(low))


@pytest.mark.slow
def test_covid_is_more_lateral_and_lower_than_viral_pneumonia() -> None:
    covid_lateral, covid_low = _offsets_from_centre("COVID-19")
    viral_lateral, viral_low = _offsets_from_centre("Viral Pneumonia")
    assert covid_lateral > viral_lateral + 0.12
    assert covid_low > viral_low + 0.08


def test_write_phantoms_layout(tmp_path: Path) -> None:
    calls: list[None] = []
    paths = write_phantoms(tmp_path, images_per_class=2, size=64, seed=4, on_image=lambda: calls.append(None))
    names = [path.relative_to(tmp_path).as_posix() for path in paths]
    assert names == [
        "COVID-19/covid-19-00000.png",
        "COVID-19/covid-19-00001.png",
        "Viral Pneumonia/viral-pneumonia-00000.png",
        "Viral Pneumonia/viral-pneumonia-00001.png",
        "Normal/normal-00000.png",
        "Normal/normal-00001.png",
    ]
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(paths)
    assert len(calls) == 6
    for path in paths:
        with Image.open(path) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "L", (64, 64))


def test_a_larger_data_set_begins_with_the_smaller_one(tmp_path: Path) -> None:
    small = write_phantoms(tmp_path / "small", images_per_class=1, size=64, seed=4)
    large = write_phantoms(tmp_path / "large", images_per_class=2, size=64, seed=4)
    other = write_phantoms(tmp_path / "other", images_per_class=1, size=64, seed=5)
    assert [path.read_bytes() for path in small] == [path.read_bytes() for path in large[::2]]
    assert all(a.read_bytes() != b.read_bytes() for a, b in zip(small, other, strict=True))


def test_several_processes_draw_the_same_images_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = write_phantoms(tmp_path / "alone", images_per_class=2, size=64)
    monkeypatch.setattr("cxr_edge.phantoms.data_set._WORTH_PROCESSES", 0)
    together = write_phantoms(tmp_path / "together", images_per_class=2, size=64)
    assert [path.read_bytes() for path in alone] == [path.read_bytes() for path in together]


def test_contact_sheet_has_a_row_per_class() -> None:
    sheet = contact_sheet(rows=3, columns=2, size=64)
    assert (sheet.mode, sheet.size) == ("L", (128, 192))


def _brightness_features(pixels: NDArray[np.uint8]) -> list[float]:
    histogram, _ = np.histogram(pixels, bins=32, range=(0, 256))
    return [float(pixels.mean()), float(pixels.std()), *histogram.astype(float)]


@pytest.mark.slow
def test_brightness_does_not_give_the_class_away() -> None:
    features, classes = [], []
    for index in range(135):
        for class_index, label in enumerate(LABELS):
            seed = index * len(LABELS) + class_index
            features.append(_brightness_features(draw_phantom(label, seed, size=96).pixels))
            classes.append(class_index)
    train = 90 * len(LABELS)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=500))
    classifier.fit(features[:train], classes[:train])
    assert balanced_accuracy_score(classes[train:], classifier.predict(features[train:])) < 0.65


def test_drawing_many_phantoms_does_not_run_the_users_script_again(tmp_path: Path) -> None:
    script = tmp_path / "study.py"
    # Without `if __name__ == "__main__"`, and enough pixels for several processes.
    script.write_text(
        "import sys\nfrom pathlib import Path\nfrom cxr_edge.phantoms.data_set import write_phantoms\n"
        "print('the script runs', flush=True)\n"
        "write_phantoms(Path(sys.argv[1]), 2, 512)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path / "phantoms")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["the script runs"]
    assert len(list(tmp_path.glob("phantoms/*/*.png"))) == 6
