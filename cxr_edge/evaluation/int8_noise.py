"""Where the noise of int8 comes from, as it is written and shown."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

SCHEMA = 1


class NoiseSource(StrEnum):
    """What is in int8 in a row."""

    ALL = "all"
    GROUP = "group"
    TENSOR = "tensor"


@dataclass(frozen=True)
class Noise:
    """What int8 does to the logits, centred per image since softmax does not see their mean.

    `snr_db` is their power over that of the error, None without an error; `bias` the mean error per class; `agreement`
    the share of images with the float graph's answer. `layer` is what `--keep-float` calls it, and `clipped` how much
    of the squared error at the tensor itself comes from values that its range cuts: the rest is rounding. Both are None
    but for tensors.
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
    """What int8 costs on some images, a row per tensor and group: the record of `export --explain-int8 --json`."""

    images: int
    source: str
    labels: tuple[str, ...]
    rows: tuple[Noise, ...]
    schema: int = SCHEMA
