"""Phantoms: synthetic frontal chest X-rays in three classes, drawn from a seed.

They stand in for a real data set in demos and tests. Disease shows in the *place and texture* of its opacities; every
image is exposed with a brightness and contrast drawn independently of its class, so no grey-level statistic gives the
class away.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from cxr_edge.data.layouts import DEFAULT_LABELS
from cxr_edge.phantoms.anatomy import SIDES, Field, Layer, Side, Thorax, draw_thorax, smooth_curve, value_noise, wall

LABELS = DEFAULT_LABELS
MINIMUM_SIZE = 64


@dataclass(frozen=True)
class Phantom:
    """One synthetic X-ray.

    ``pixels`` is (S, S) uint8, dense tissue bright. ``opacity`` is (S, S) float32 in 0..1: where, and how densely, the
    disease was drawn; all zeros for Normal.
    """

    pixels: NDArray[np.uint8]
    opacity: NDArray[np.float32]
    label: str


def draw_phantom(label: str, seed: int, size: int = 256) -> Phantom:
    """Draw a phantom of ``size`` x ``size`` pixels; the same arguments give the same bytes.

    One seed is one patient: labels share its anatomy, pose and exposure, and differ only in the disease.

    Raises:
        ValueError: unknown label, a size below 64, or a negative seed.
    """
    if label not in LABELS:
        raise ValueError(f"unknown label {label!r}: expected one of {', '.join(LABELS)}")
    if size < MINIMUM_SIZE:
        raise ValueError(f"a phantom needs at least {MINIMUM_SIZE} pixels, not {size}")
    anatomy, disease, exposure = (np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(3))
    thorax = draw_thorax(anatomy, size)
    opacity = _draw_opacity(disease, label, thorax)
    # An opacity fills alveoli: it removes the contrast due to air, never more than that.
    attenuation = thorax.attenuation + thorax.air * opacity
    return Phantom(_expose(exposure, attenuation), opacity, label)


def _draw_opacity(rng: np.random.Generator, label: str, thorax: Thorax) -> Field:
    if label == "COVID-19":
        opacity = _ground_glass(rng, thorax)
    elif label == "Viral Pneumonia":
        opacity = _interstitial(rng, thorax)
    else:
        opacity = np.zeros_like(thorax.lungs)
    return np.asarray(np.clip(opacity * thorax.lungs, 0.0, 1.0), dtype=np.float32)


def _blob(rng: np.random.Generator, centre: tuple[float, float], radii: tuple[float, float]) -> NDArray[np.float64]:
    angles = np.linspace(0.0, 2 * np.pi, 10, endpoint=False)
    radius = rng.uniform(0.65, 1.25, angles.size)
    knots = np.column_stack((radii[0] * radius * np.cos(angles), radii[1] * radius * np.sin(angles)))
    return smooth_curve(knots + centre, closed=True)


def _ground_glass(rng: np.random.Generator, thorax: Thorax) -> Field:
    """COVID-19: hazy patches in both lungs that hug the lateral wall, mostly in the lower zones."""
    layer = Layer(thorax.pose)
    for side in SIDES:
        for _ in range(rng.integers(2, 5)):
            height = float(np.clip(rng.normal(0.22, 0.22), -0.45, 0.50))
            radii = (float(rng.uniform(0.10, 0.19)), float(rng.uniform(0.11, 0.24)))
            centre = (side * (float(wall(height, thorax.breadth)) - 0.55 * radii[0]), height)
            layer.polygon(_blob(rng, centre, radii), value=float(rng.uniform(0.65, 1.0)))
    size = thorax.pose.size
    grain = 0.80 + 0.16 * value_noise(rng, size, 14) + 0.08 * value_noise(rng, size, 40)
    peripheral = np.clip((thorax.laterality - 0.35) / 0.35, 0.0, 1.0)
    return np.asarray(rng.uniform(0.55, 0.95) * layer.field(0.03) * grain * peripheral)


def _interstitial(rng: np.random.Generator, thorax: Thorax) -> Field:
    """Viral pneumonia: a reticular network through both lungs, perihilar patches and peribronchial streaks."""
    reticular = float(rng.uniform(0.0, 1.0))
    network = (0.35 + 0.65 * reticular) * _reticulation(rng, thorax)
    patches, streaks = Layer(thorax.pose), Layer(thorax.pose)
    for side in SIDES:
        _perihilar(rng, side, patches, streaks)
    central = (0.9 - 0.5 * reticular) * patches.field(0.04) * (0.8 + 0.2 * value_noise(rng, thorax.pose.size, 16))
    inner = np.clip((0.95 - thorax.laterality) / 0.35, 0.0, 1.0)
    opacity = network + inner * (central + 0.40 * streaks.field(0.012))
    return np.asarray(rng.uniform(0.6, 0.95) * opacity)


def _reticulation(rng: np.random.Generator, thorax: Thorax) -> Field:
    """Thickened septa: the zero lines of smooth noise are curved, and three sets of them cross to a net."""
    size = thorax.pose.size
    cells = int(rng.integers(20, 30))
    septa = [np.exp(-np.square(value_noise(rng, size, cells + step) / 0.22)) for step in (0, 3, 16)]
    extent = np.clip(0.75 + 0.45 * value_noise(rng, size, 5), 0.2, 1.0)
    return np.asarray((0.45 * septa[0] + 0.45 * septa[1] + 0.3 * septa[2]) * extent)


def _perihilar(rng: np.random.Generator, side: Side, patches: Layer, streaks: Layer) -> None:
    for _ in range(rng.integers(1, 4)):
        centre = (side * float(rng.uniform(0.20, 0.40)), float(rng.normal(-0.05, 0.14)))
        radii = (float(rng.uniform(0.08, 0.15)), float(rng.uniform(0.08, 0.17)))
        patches.polygon(_blob(rng, centre, radii), value=float(rng.uniform(0.5, 0.9)))
    for angle in rng.uniform(-1.1, 1.2, rng.integers(4, 8)):
        length = rng.uniform(0.2, 0.36)
        hilum = np.array((side * 0.16, -0.10))
        direction = np.array((side * np.cos(angle), np.sin(angle)))
        # A bronchus seen along its length shows as two thickened parallel walls.
        normal = 0.014 * np.array((-direction[1], direction[0]))
        for wall_offset in (-normal, normal):
            streaks.line((hilum + wall_offset, hilum + wall_offset + length * direction), 0.013)


def _expose(rng: np.random.Generator, attenuation: Field) -> NDArray[np.uint8]:
    """Turn attenuation into grey values at a random exposure, independent of the class."""
    size = attenuation.shape[0]
    image = attenuation + rng.uniform(0.0, 0.05) * value_noise(rng, size, 3)
    image = np.clip(image, 0.0, None) ** rng.uniform(0.8, 1.35)
    mean, contrast = rng.uniform(100.0, 155.0), rng.uniform(42.0, 62.0)
    grey = mean + contrast * (image - image.mean()) / image.std()
    # A separate generator: the number of pixels must not affect what is drawn after the grain.
    (grain,) = rng.spawn(1)
    grey += rng.uniform(0.5, 4.0) * grain.standard_normal((size, size), dtype=np.float32)
    # A film's shoulder and toe: the extremes are compressed, not cut off.
    grey = 127.5 + 127.5 * np.tanh((grey - 127.5) / 127.5)
    pixels = Image.fromarray(np.round(grey).astype(np.uint8))
    sharpness = rng.uniform(0.4, 1.1) * size / 256
    pixels = pixels.filter(ImageFilter.GaussianBlur(sharpness))
    return _collimate(rng, np.array(pixels))


def _collimate(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Occasionally shade the borders with the collimator's blades."""
    if rng.random() < 0.25:
        size = pixels.shape[0]
        shade = np.uint8(rng.integers(0, 30))
        top, bottom, left, right = (int(blade) for blade in rng.uniform(0.0, 0.05, 4) * size)
        pixels[:top], pixels[size - bottom :] = shade, shade
        pixels[:, :left], pixels[:, size - right :] = shade, shade
    return pixels
