"""The kinds of artifacts. A new quantization takes one line here: all other code uses its properties."""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple, Self


class _Facts(NamedTuple):
    rank: int
    tolerance: float
    is_integer: bool = False
    is_half: bool = False
    is_fine_tuned: bool = False
    #: The quantization that becomes this one if some of its layers are left in float.
    of: str | None = None


#: Tolerances between runtimes: for float32 sums in a different order; for float16 weights, widened or not; for int8
#: rounding that differs by half a step in each of a hundred layers.
_FLOAT32, _FLOAT16, _INTEGER = 0.001, 0.02, 0.05


class Quantization(StrEnum):
    """How an artifact is quantized: float32, fp16, int8 (fine-tuned if needed), int8-ptq (calibrated only), or one of
    the last two with some layers left in float: mixed, mixed-ptq. Before schema 2, files called float32 "none".
    """

    FLOAT32 = "float32", _Facts(5, _FLOAT32)
    FP16 = "fp16", _Facts(4, _FLOAT16, is_half=True)
    INT8 = "int8", _Facts(0, _INTEGER, is_integer=True, is_fine_tuned=True)
    INT8_PTQ = "int8-ptq", _Facts(1, _INTEGER, is_integer=True)
    MIXED = "mixed", _Facts(2, _INTEGER, is_integer=True, is_fine_tuned=True, of="int8")
    MIXED_PTQ = "mixed-ptq", _Facts(3, _INTEGER, is_integer=True, of="int8-ptq")

    _facts: _Facts

    def __new__(cls, name: str, facts: _Facts | None = None) -> Self:
        member = str.__new__(cls, name)
        # A lookup by value, which looks like this call to the type checker, never gets here.
        assert facts is not None
        member._value_, member._facts = name, facts
        return member

    @classmethod
    def _missing_(cls, value: object) -> Quantization | None:
        return cls.FLOAT32 if value == "none" else None

    @property
    def rank(self) -> int:
        """Rank in the order of preference on a device; 0 is the first."""
        return self._facts.rank

    @property
    def tolerance(self) -> float:
        """Largest difference in a probability between two runtimes that compute the same file."""
        return self._facts.tolerance

    @property
    def is_integer(self) -> bool:
        """Whether it computes in integers: entirely, or in part if `is_mixed`."""
        return self._facts.is_integer

    @property
    def is_half(self) -> bool:
        """Whether its weights are float16."""
        return self._facts.is_half

    @property
    def is_fine_tuned(self) -> bool:
        """Whether its integers are fine-tuned where calibration is not close enough."""
        return self._facts.is_fine_tuned

    @property
    def is_mixed(self) -> bool:
        """Whether some layers are left in float."""
        return self._facts.of is not None

    def mixed(self) -> Quantization:
        """This quantization with some layers left in float; itself if it has no integers."""
        return next((member for member in Quantization if member._facts.of == self), self)

    @classmethod
    def exportable(cls) -> tuple[Quantization, ...]:
        """The quantizations that can be requested; a mixed one results from leaving layers in float."""
        return tuple(member for member in cls if not member.is_mixed)


class ArtifactFormat(StrEnum):
    """The file format of an artifact, which is also its suffix. In the order of preference on a device: int8 on LiteRT
    has been the fastest row of every benchmark so far; see benchmarks/results.
    """

    TFLITE = "tflite"
    ONNX = "onnx"


class TrainingData(StrEnum):
    """What a model was trained on: images, or drawn phantoms, whose figures say nothing about patients."""

    PHANTOMS = "phantoms"
    IMAGES = "images"
