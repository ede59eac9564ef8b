"""Where int8 noise comes from: the record that is written and shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SCHEMA = 1


class NoiseSource(StrEnum):
    """Which tensors a row quantizes to int8; the rest stays in float."""

    ALL = "all"
    GROUP = "group"
    TENSOR = "tensor"


@dataclass(frozen=True)
class Noise:
    """The effect of int8 on the logits, centred per image because softmax ignores their mean.

    `snr_db` is the ratio of their power to the error's, None without an error; `bias` the mean error per class;
    `agreement` the share of images with the float graph's top class. `layer` is its layer as `--keep-float` takes it,
    and `clipped` the share of the tensor's squared error that comes from clipping at its range; the rest is rounding.
    Both are None except for tensors.
    """

    source: NoiseSource
    name: str
    snr_db: float | None
    agreement: float
    bias: tuple[float, ...]
    layer: str | None = None
    clipped: float | None = None


@dataclass(frozen=True)
class Explanation:
    """What int8 costs on some images, one row per tensor and group: the record of `export --explain-int8 --json`."""

    images: int
    source: str
    labels: tuple[str, ...]
    rows: tuple[Noise, ...]
    schema: int = SCHEMA
