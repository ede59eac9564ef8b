"""Augmentation: what each kind of change does to an image, and how many images it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.train_options import completed
from cxr_edge.training.augment import MILD, Augmentation, augment, augmentation_draws
from cxr_edge.training.batches import Batches, augmentation_of

COUNT, SIZE = 80, 64
NOTHING = Augmentation(
    rotation_degrees=0,
    shift=0,
    zoom=0,
    exposure=0,
    contrast=0,
    gamma=1,
    bend=0,
    blur=0,
    sharpen=0,
    noise=0,
    jpeg=0,
    frame=0,
)
PHANTOM = draw_phantom("Normal", 3, SIZE).pixels[..., None]
IMAGES = np.repeat(PHANTOM[None], COUNT, axis=0).astype(np.float32)


def augmented(amount: Augmentation, seed: int = 1) -> NDArray[np.float32]:
    return np.asarray(augment(IMAGES, augmentation_draws(np.array([seed, 7], np.int32), COUNT, SIZE), amount))


def changed_share(images: NDArray[np.float32]) -> float:
    return float((np.abs(images - IMAGES).max(axis=(1, 2, 3)) > 0.5).mean())


def test_without_magnitudes_an_image_stays_as_it_is() -> None:
    assert np.abs(augmented(NOTHING) - IMAGES).max() < 0.01


def test_the_seed_determines_the_augmented_images() -> None:
    first, second = augmented(Augmentation()), augmented(Augmentation())
    assert np.array_equal(first, second)
    assert changed_share(first) == 1
    assert first.min() >= 0
    assert first.max() <= 255
    assert not np.array_equal(first, augmented(Augmentation(), seed=2))


@pytest.mark.parametrize(
    ("amount", "share"),
    [
        (replace(NOTHING, noise=12), 0.5),
        (replace(NOTHING, jpeg=1 / 3), 1 / 3),
        (replace(NOTHING, frame=0.13), 0.5),
        (replace(NOTHING, blur=1), 0.5),
        (replace(NOTHING, sharpen=0.7), 0.5),
        (replace(NOTHING, gamma=1.7), 1.0),
        (replace(NOTHING, bend=0.6), 1.0),
    ],
)
def test_a_change_reaches_its_share_of_the_images(amount: Augmentation, share: float) -> None:
    # Three standard deviations of so few images; a change may also be too small to see.
    assert abs(changed_share(augmented(amount)) - share) < 3 * np.sqrt(0.25 / COUNT)


def test_a_display_curve_keeps_black_white_and_the_order_of_grey_values() -> None:
    ramp = np.tile(np.linspace(0, 255, SIZE, dtype=np.float32)[None, None, :, None], (COUNT, SIZE, 1, 1))
    draws = augmentation_draws(np.array([1, 7], np.int32), COUNT, SIZE)
    rows = np.asarray(augment(ramp, draws, replace(NOTHING, gamma=1.7, bend=0.6)))[:, SIZE // 2, :, 0]
    assert np.allclose(rows[:, [0, -1]], [0, 255], atol=0.01)
    assert (np.diff(rows, axis=1) > -1e-3).all()
    assert np.abs(rows - ramp[:, 0, :, 0]).max() > 30


def test_a_blur_takes_details_away_and_sharpening_adds_some() -> None:
    def detail(images: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(np.abs(np.diff(images, axis=2)).mean(axis=(1, 2, 3)), np.float64)

    before = detail(IMAGES)
    assert (detail(augmented(replace(NOTHING, blur=1))) < before + 1e-3).all()
    assert (detail(augmented(replace(NOTHING, sharpen=0.7))) > before - 1e-3).all()


def test_a_frame_has_one_grey_value_and_leaves_the_middle_alone() -> None:
    images = augmented(replace(NOTHING, frame=0.13))
    edge = int(np.ceil(0.13 * SIZE))
    assert np.abs((images - IMAGES)[:, edge:-edge, edge:-edge]).max() < 0.01
    for image, original in zip(images[..., 0], IMAGES[..., 0], strict=True):
        covered = np.abs(image - original) > 0.01
        assert not covered.any() or np.ptp(image[covered]) < 1e-3


def test_a_batch_has_the_classes_in_equal_parts_and_images_without_label_once() -> None:
    # Nine images of class 0, two of class 1, seven of class 2, six without label; an image is as bright as its number.
    labels = np.repeat([0, 1, 2, -1], [9, 2, 7, 6])
    images = np.broadcast_to(10 * np.arange(24, dtype=np.uint8)[:, None, None, None], (24, 16, 16, 1)).copy()
    batches = Batches(images, labels, 3, batch_size=6, seed=0)
    epochs = [list(batches.epoch(number).as_numpy_iterator()) for number in (0, 0, 1)]
    for first, again, other in zip(*epochs, strict=True):
        assert all(np.array_equal(array, repeated) for array, repeated in zip(first, again, strict=True))
        assert not np.array_equal(first[0], other[0])
    for batch in (epochs[0], epochs[2]):
        targets = np.concatenate([labels for _, labels in batch])
        assert targets.sum(axis=0).tolist() == [6, 6, 6]
        assert (targets.sum(axis=1) == 0).sum() == 6


def test_a_training_from_scratch_gets_mild_changes_alone(tmp_path: Path) -> None:
    weights = tmp_path / "weights.h5"
    weights.touch()
    assert augmentation_of(completed({"phantoms": 12})) == MILD
    assert augmentation_of(completed({"phantoms": 12, "weights": str(weights)})) == Augmentation()
