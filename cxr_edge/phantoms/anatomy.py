"""The healthy thorax of a phantom: attenuation fields of a simulated frontal chest X-ray.

Anatomical coordinates are ``(x, y)`` with the image centre at ``(0, 0)``, x to the image's right (the patient's left)
and y downwards; the lungs span about -0.75..0.75 in both. Attenuation is relative: soft tissue of a mean chest is 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFilter

Field = NDArray[np.float32]
Points = NDArray[np.float64]
Side = Literal[-1, 1]
SIDES: tuple[Side, Side] = (-1, 1)

# Edges are drawn at twice the image's size and averaged down, which is Pillow's only way to antialias polygons.
OVERSAMPLING = 2
# A blur this wide, in pixels, loses nothing at a quarter of the resolution and costs a sixteenth.
WIDE_BLUR = 3.0

# Lateral lung wall of the mean chest: half-width at a height. Ribs and peripheral opacities follow it too.
WALL_Y = (-0.95, -0.84, -0.72, -0.55, -0.30, 0.00, 0.30, 0.55, 0.75)
WALL_X = (0.20, 0.36, 0.50, 0.60, 0.69, 0.75, 0.78, 0.79, 0.78)

BODY_OUTLINE = (
    (0.00, -1.60), (0.24, -1.50), (0.25, -1.12), (0.42, -0.98), (0.78, -0.90), (1.08, -0.72), (1.30, -0.35),
    (1.34, 0.05), (1.16, 0.10), (1.02, -0.02), (0.96, 0.20), (0.95, 0.60), (0.97, 1.10), (1.00, 1.70), (0.00, 1.80),
)  # fmt: skip
RIGHT_LUNG_INNER = (
    (0.70, 0.53), (0.58, 0.43), (0.42, 0.38), (0.26, 0.42), (0.14, 0.53), (0.11, 0.36), (0.13, 0.10), (0.12, -0.25),
    (0.09, -0.60), (0.15, -0.82),
)  # fmt: skip
LEFT_LUNG_INNER = (
    (0.71, 0.58), (0.60, 0.49), (0.46, 0.46), (0.37, 0.50), (0.33, 0.36), (0.26, 0.16), (0.17, 0.00), (0.14, -0.25),
    (0.11, -0.60), (0.15, -0.82),
)  # fmt: skip
HEART_OUTLINE = (
    (-0.06, -0.22), (0.10, -0.24), (0.21, -0.12), (0.33, 0.02), (0.44, 0.20), (0.49, 0.38), (0.46, 0.52), (0.30, 0.60),
    (0.00, 0.60), (-0.16, 0.55), (-0.225, 0.38), (-0.21, 0.16), (-0.14, -0.06),
)  # fmt: skip
CLAVICLE = ((0.06, -0.60), (0.20, -0.64), (0.42, -0.75), (0.62, -0.82), (0.86, -0.82))
SCAPULA = ((0.66, -0.74), (0.88, -0.62), (0.96, -0.30), (0.86, 0.08), (0.78, -0.10), (0.74, -0.40))


@dataclass(frozen=True)
class Pose:
    """Where the patient stands before a detector of ``size`` x ``size`` pixels."""

    size: int
    angle: float
    shift: tuple[float, float]
    zoom: float
    aspect: float

    @classmethod
    def draw(cls, rng: np.random.Generator, size: int) -> Pose:
        """Draw a pose: a few degrees of rotation, shifts in anatomical units, zoom, width over height."""
        return cls(
            size=size,
            angle=float(rng.normal(0.0, 0.035)),
            shift=(float(rng.normal(0.0, 0.035)), float(rng.normal(0.02, 0.04))),
            zoom=float(rng.uniform(0.94, 1.16)),
            aspect=float(rng.uniform(0.93, 1.08)),
        )

    def matrix(self) -> Points:
        """The 2 x 2 matrix from anatomical units to pixels."""
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        scale = np.diag((self.aspect, 1.0 / self.aspect)) * (self.zoom * self.size / 2)
        return np.array(((cos, -sin), (sin, cos))) @ scale

    def coordinates(self) -> tuple[Field, Field]:
        """The anatomical x and y of every pixel's centre, (S, S) each."""
        axis = np.arange(self.size) + 0.5 - self.size / 2
        (a, b), (c, d) = np.linalg.inv(self.matrix())
        x = a * axis[None, :] + b * axis[:, None] - self.shift[0]
        y = c * axis[None, :] + d * axis[:, None] - self.shift[1]
        return x.astype(np.float32), y.astype(np.float32)


class Layer:
    """A drawing surface in anatomical coordinates that becomes a field in 0..1."""

    def __init__(self, pose: Pose) -> None:
        self._size = pose.size
        self._scale = pose.zoom * pose.size / 2
        self._matrix = pose.matrix().T * OVERSAMPLING
        self._origin = np.asarray(pose.shift) @ self._matrix + pose.size / 2 * OVERSAMPLING
        self._image = Image.new("L", (pose.size * OVERSAMPLING,) * 2)
        self._draw = ImageDraw.Draw(self._image)

    def _canvas(self, points: ArrayLike) -> list[float]:
        flat: list[float] = (np.asarray(points) @ self._matrix + self._origin).ravel().tolist()
        return flat

    def polygon(self, points: ArrayLike, value: float = 1.0) -> None:
        """Fill the polygon through ``points`` (N, 2)."""
        self._draw.polygon(self._canvas(points), fill=round(255 * value))

    def line(self, points: ArrayLike, width: float, value: float = 1.0) -> None:
        """Stroke a polyline; ``width`` in anatomical units."""
        pixels = max(1, round(width * self._scale * OVERSAMPLING))
        self._draw.line(self._canvas(points), fill=round(255 * value), width=pixels)

    def field(self, blur: float = 0.0) -> Field:
        """The layer as (S, S) float32 in 0..1, blurred by a sigma of ``blur`` half image widths."""
        radius = blur * self._size / 2
        coarseness = 4 if radius > WIDE_BLUR else 1
        factor = OVERSAMPLING * coarseness
        image = self._image.reduce(factor)
        if radius:
            image = image.filter(ImageFilter.GaussianBlur(radius / coarseness))
        # The box keeps the drawing in place where the factor does not divide the canvas.
        edge = self._image.width / factor
        image = image.resize((self._size, self._size), Image.Resampling.BILINEAR, box=(0, 0, edge, edge))
        return np.asarray(image, dtype=np.float32) / np.float32(255)


@dataclass(frozen=True)
class Thorax:
    """A healthy chest: its attenuation, and the geometry needed to draw disease. Fields are (S, S) float32.

    ``lungs`` is the share of aerated lung, ``laterality`` 0 at the midline and 1 at the lateral lung wall, ``breadth``
    the width of this lung relative to the mean chest, ``air`` the attenuation that a full lung removes.
    """

    pose: Pose
    attenuation: Field
    lungs: Field
    laterality: Field
    breadth: float
    air: float


def smooth_curve(points: ArrayLike, closed: bool, steps: int = 6) -> Points:
    """A Catmull-Rom curve through ``points`` (N, 2)."""
    knots = np.asarray(points, dtype=np.float64)
    padded = (
        np.concatenate((knots[-1:], knots, knots[:2])) if closed else np.concatenate((knots[:1], knots, knots[-1:]))
    )
    t = np.linspace(0.0, 1.0, steps, endpoint=False)[None, :, None]
    before, start, end, after = (padded[i : len(padded) - 3 + i, None, :] for i in range(4))
    curve = start + 0.5 * t * (
        end - before + t * (2 * before - 5 * start + 4 * end - after + t * (3 * (start - end) + after - before))
    )
    return curve.reshape(-1, 2)


def value_noise(rng: np.random.Generator, size: int, cells: int) -> Field:
    """Smooth standard-normal noise (S, S) with ``cells`` knots along an edge; its form does not depend on ``size``."""
    knots = Image.fromarray(rng.standard_normal((cells, cells), dtype=np.float32))
    return np.asarray(knots.resize((size, size), Image.Resampling.BICUBIC), dtype=np.float32)


def wall(y: ArrayLike, breadth: float) -> Points:
    """Half-width of the lungs' lateral wall at height ``y``."""
    return np.interp(np.asarray(y, dtype=np.float64), WALL_Y, WALL_X) * breadth


def _mirrored(points: ArrayLike, side: Side) -> Points:
    return np.asarray(points, dtype=np.float64) * (side, 1.0)


def _jittered(rng: np.random.Generator, points: ArrayLike, sigma: float) -> Points:
    knots = np.asarray(points, dtype=np.float64)
    return knots + rng.normal(0.0, sigma, knots.shape)


def _body(rng: np.random.Generator, pose: Pose) -> Field:
    girth = rng.uniform(0.97, 1.14)
    half = np.asarray(BODY_OUTLINE) * (girth, 1.0)
    layer = Layer(pose)
    for side in SIDES:
        layer.polygon(smooth_curve(_mirrored(_jittered(rng, half, 0.012), side), closed=True))
    # The chest is thick in the middle and thin at the skin: a sharp outline under a wide slope.
    return np.asarray(0.35 * layer.field() + 0.65 * layer.field(0.11) ** 1.5)


def _lungs(rng: np.random.Generator, pose: Pose, breadth: float) -> tuple[Field, Field]:
    """Lung air (sharp medial edges) and the same with the soft rim of a rounded chest wall."""
    layer = Layer(pose)
    depth = rng.normal(0.0, 0.05)
    for side, inner in zip(SIDES, (RIGHT_LUNG_INNER, LEFT_LUNG_INNER), strict=True):
        heights = np.array((-0.86, -0.72, -0.55, -0.30, 0.00, 0.30, 0.52, 0.62))
        outer = np.column_stack((wall(heights, breadth), heights))
        outer[-1] += (0.0, 0.03)
        outline = _jittered(rng, np.concatenate((outer, np.asarray(inner))), 0.008)
        below = outline[:, 1] > 0.2
        outline[below, 1] += depth + rng.normal(0.0, 0.015)
        layer.polygon(smooth_curve(_mirrored(outline, side), closed=True))
    return layer.field(0.008), layer.field(0.05)


def _heart(rng: np.random.Generator, pose: Pose) -> Field:
    scale = (rng.uniform(0.85, 1.15), rng.uniform(0.93, 1.06))
    heart = Layer(pose)
    heart.polygon(smooth_curve(_jittered(rng, np.asarray(HEART_OUTLINE) * scale, 0.01), closed=True))
    angles = np.linspace(0.0, 2 * np.pi, 24)
    knob = rng.uniform(0.08, 0.12)
    centre = (0.11 + rng.normal(0.0, 0.01), -0.37 + rng.normal(0.0, 0.02))
    heart.polygon(np.column_stack((np.cos(angles), 1.15 * np.sin(angles))) * knob + centre, value=0.6)
    heart.polygon(((0.0, -0.40), (0.17, -0.36), (0.17, 0.30), (0.0, 0.40)), value=0.5)
    heart.polygon(((0.02, -0.60), (-0.11, -0.56), (-0.12, -0.10), (0.02, -0.10)), value=0.4)
    heart.polygon(smooth_curve(np.asarray(HEART_OUTLINE) * scale, closed=True))
    return heart.field(0.018)


def _midline(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Mediastinum, spine with vertebral bodies, and the trachea's air column."""
    bend = 0.02 * rng.standard_normal() * np.sin(2.0 * y + rng.uniform(0, 6))
    offset = x - bend
    spine = 1.0 / (1.0 + np.square(np.square(np.square(offset / 0.085))))
    discs = np.sin(2 * np.pi / rng.uniform(0.135, 0.16) * y + rng.uniform(0, 6))
    mediastinum = np.exp(-np.square(np.square(x / 0.19)))
    airway = np.exp(-np.square(np.square((offset + 0.01) / 0.042))) / (1.0 + np.exp((y + 0.26) / 0.03))
    vertebrae = spine * (0.11 + 0.035 * np.clip(2 * discs, -1, 1))
    return np.asarray(0.20 * mediastinum + vertebrae - rng.uniform(0.12, 0.2) * airway)


def _rib_arcs(rng: np.random.Generator, breadth: float, side: Side) -> list[tuple[Points, Points]]:
    """Posterior and anterior arcs of the ribs of one side."""
    spacing, tilt = rng.uniform(0.138, 0.162), rng.uniform(0.85, 1.15)
    t = np.linspace(0.0, 1.0, 14)
    arcs = []
    for index in range(10):
        head = -0.86 + spacing * index + rng.normal(0.0, 0.005)
        drop = tilt * (0.10 + 0.028 * index)
        reach = float(wall(head + drop, breadth)) + 0.02
        x = 0.08 + (reach - 0.08) * np.sin(t * np.pi / 2)
        y = head - 0.07 * np.sin(np.pi * t) + drop * t**2
        front = reach * (1.0 - 0.62 * (1.0 - np.cos(t * np.pi / 2)))
        front_y = y[-1] + (0.20 + 0.012 * index) * t**0.9
        arcs.append((_mirrored(np.column_stack((x, y)), side), _mirrored(np.column_stack((front, front_y)), side)))
    return arcs


def _bones(rng: np.random.Generator, pose: Pose, breadth: float) -> Field:
    posterior, anterior, girdle = Layer(pose), Layer(pose), Layer(pose)
    width = rng.uniform(0.045, 0.058)
    for side in SIDES:
        for back, front in _rib_arcs(rng, breadth, side):
            # Cortical bone makes a rib's edges brighter than its marrow.
            posterior.line(back, width)
            posterior.line(back, 0.6 * width, value=0.72)
            anterior.line(front[:11], 1.15 * width, value=0.9)
        clavicle = smooth_curve(_mirrored(_jittered(rng, CLAVICLE, 0.012), side), closed=False)
        girdle.polygon(smooth_curve(_mirrored(_jittered(rng, SCAPULA, 0.02), side), closed=True), value=0.45)
        girdle.line(clavicle, 0.062)
        girdle.line(clavicle, 0.036, value=0.75)
    contrast = rng.uniform(0.75, 1.5)
    return np.asarray(contrast * (0.105 * posterior.field() + 0.045 * anterior.field(0.010) + 0.19 * girdle.field()))


def _vessel(
    rng: np.random.Generator, layer: Layer, start: complex, heading: float, width: float, length: float
) -> None:
    """Draw an artery and its branches; points are complex numbers x + iy."""
    turns = heading + np.cumsum(rng.normal(0.0, 0.16, 5))
    path = start + np.cumsum(np.exp(1j * np.concatenate(((heading,), turns)))) * length / 6
    layer.line(np.column_stack((path.real, path.imag)), width, value=min(1.0, 0.3 + 18 * width))
    if width > 0.011:
        for spread in (-1, 1):
            branch = float(turns[-1] + spread * rng.uniform(0.2, 0.6))
            _vessel(rng, layer, complex(path[-1]), branch, 0.6 * width, 0.8 * length)


def _vessels(rng: np.random.Generator, pose: Pose) -> Field:
    trunks, branches = Layer(pose), Layer(pose)
    for side in SIDES:
        # The left hilum stands higher than the right one.
        hilum = complex(side * 0.15 + rng.normal(0.0, 0.012), -0.07 - 0.04 * side + rng.normal(0.0, 0.012))
        for angle in np.linspace(-1.25, 1.35, 6) + rng.normal(0.0, 0.12, 6):
            heading = angle if side == 1 else np.pi - angle
            _vessel(rng, branches, hilum, heading, rng.uniform(0.022, 0.038), rng.uniform(0.15, 0.22))
            trunks.line((_xy(hilum), _xy(hilum + 0.13 * np.exp(1j * heading))), 0.05)
    return np.asarray(branches.field() + 0.7 * trunks.field(0.035))


def _xy(point: complex) -> tuple[float, float]:
    return point.real, point.imag


def _soft_tissue(rng: np.random.Generator, pose: Pose, y: Field) -> Field:
    """Abdomen, breast shadows and uneven fat: what makes healthy lungs differ in brightness."""
    breast, stomach = Layer(pose), Layer(pose)
    angles = np.linspace(0.0, 2 * np.pi, 24)
    circle = np.column_stack((np.cos(angles), np.sin(angles)))
    size, height = rng.uniform(0.26, 0.36), rng.uniform(0.18, 0.36)
    for side in SIDES:
        breast.polygon(_mirrored(circle * (size, 0.85 * size) + (0.46, height), side))
    stomach.polygon(circle * (rng.uniform(0.10, 0.18), rng.uniform(0.05, 0.09)) + (0.42, 0.66))
    abdomen = rng.uniform(0.16, 0.30) / (1.0 + np.exp((0.55 - y) / 0.10))
    unevenness = rng.uniform(0.01, 0.05) * value_noise(rng, pose.size, 4)
    breast_share = max(0.0, rng.uniform(-0.15, 0.16))
    stomach_share = max(0.0, rng.uniform(-0.15, 0.25))
    return np.asarray(abdomen + unevenness + breast_share * breast.field(0.025) - stomach_share * stomach.field(0.015))


def draw_thorax(rng: np.random.Generator, size: int) -> Thorax:
    """Draw a healthy chest of random pose and anatomy onto a (size, size) grid."""
    pose = Pose.draw(rng, size)
    x, y = pose.coordinates()
    breadth = float(rng.uniform(0.93, 1.05))
    air = float(rng.uniform(0.50, 0.66))
    body = _body(rng, pose)
    lungs, rim = _lungs(rng, pose, breadth)
    heart = _heart(rng, pose)
    aerated = (lungs * (1.0 - 0.85 * heart)).astype(np.float32)
    attenuation = body * (1.0 + _soft_tissue(rng, pose, y)) - air * aerated * (0.45 + 0.55 * rim)
    attenuation += body * (rng.uniform(0.17, 0.28) * heart + _midline(rng, x, y) + _bones(rng, pose, breadth))
    markings = rng.uniform(0.09, 0.19) * _vessels(rng, pose) + 0.012 * value_noise(rng, size, 48)
    attenuation += aerated * markings
    laterality = (np.abs(x) / wall(y, breadth)).astype(np.float32)
    return Thorax(pose, attenuation.astype(np.float32), aerated, laterality, breadth, air)
