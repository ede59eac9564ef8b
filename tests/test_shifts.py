"""The suite of shifts: the same pixels everywhere, and no image depends on the others in its batch."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_edge.evaluation.shifts import SUITE, Shift, ShiftKind

#: Of `ramp()` under each shift: a change is a new `VERSION`.
GOLDEN = {
    "darker": "318ccd6eb71b456b",
    "brighter": "d32f7e1cdd28d2ed",
    "noise": "c1759d6879a62577",
    "blur": "34ebd19f6d406d3f",
    "jpeg": "fec3f9b59998abd6",
    "crop": "24631e57ad862d23",
    "border": "b5ca5013c2e9f1a8",
    "rotation": "356a697ae9d4b3f6",
    "inverted": "0ce75644dbf6767f",
    "hard window": "e1b44b04a84a7906",
    "flat window": "64dd31c151dab804",
}


def ramp(size: int = 64) -> NDArray[np.uint8]:
    """Two pictures uint8 `[2, S, S, 1]` of no more than integer arithmetic: a saddle with a bright square."""
    row, column = np.mgrid[:size, :size]
    saddle = (row * column * 7 // size + 3 * row) % 256
    square = np.where((abs(row - size // 3) < 9) & (abs(column - size // 2) < 9), 240, saddle // 2)
    return np.stack([saddle, square]).astype(np.uint8)[..., None]


def named(name: str) -> Shift:
    return next(shift for shift in SUITE if shift.name == name)


@pytest.mark.parametrize("shift", SUITE, ids=lambda shift: shift.name)
def test_a_shift_gives_the_same_pixels_on_every_machine(shift: Shift) -> None:
    assert hashlib.sha256(shift.apply(ramp()).tobytes()).hexdigest()[:16] == GOLDEN[shift.name]


@pytest.mark.parametrize("shift", SUITE, ids=lambda shift: shift.name)
def test_a_shift_changes_every_image_independently(shift: Shift) -> None:
    images = ramp()
    before, shifted = images.copy(), shift.apply(images)
    assert (shifted.dtype, shifted.shape) == (np.uint8, images.shape)
    assert np.array_equal(images, before)
    assert np.array_equal(shift.apply(images[1:]), shifted[1:])
    assert all(not np.array_equal(image, original) for image, original in zip(shifted, images, strict=True))


def test_noise_is_drawn_from_the_seed_and_the_image() -> None:
    grey = np.full((2, 128, 128, 1), 128, np.uint8)
    grey[1, 0, 0] = 127
    noise = named("noise")
    drawn = noise.apply(grey).astype(float) - grey
    assert drawn.std() == pytest.approx(noise.parameters["deviation"], rel=0.03)
    assert abs(drawn.mean()) < 0.2
    assert not np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(noise.apply(grey, seed=1), noise.apply(grey))


def test_exposure_and_windows_do_what_they_say() -> None:
    images = ramp()
    assert named("darker").apply(images).mean() < images.mean() < named("brighter").apply(images).mean()
    assert np.array_equal(named("inverted").apply(images), 255 - images)
    assert named("flat window").apply(images).std() < images.std()
    hard = named("hard window").apply(images)
    assert set(np.unique(hard[images <= 45])) == {0}
    assert set(np.unique(hard[images >= 210])) == {255}


def test_geometry_turns_crops_and_borders() -> None:
    images = ramp()
    quarter = Shift("quarter", ShiftKind.ROTATE, {"degrees": 90})
    assert np.array_equal(quarter.apply(images)[..., 0], np.rot90(images[..., 0], -1, axes=(1, 2)))
    bordered = named("border").apply(np.full((1, 100, 100, 1), 200, np.uint8))[0, :, :, 0]
    assert set(np.unique(bordered[:6])) == {0}
    assert set(np.unique(bordered[7:93, 7:93])) == {200}
    assert named("crop").apply(np.full((1, 100, 100, 1), 200, np.uint8)).min() == 200
    framed = np.full((1, 100, 100, 1), 200, np.uint8)
    framed[:, :3] = framed[:, -3:] = framed[:, :, :3] = framed[:, :, -3:] = 0
    assert named("crop").apply(framed).min() == 200
