"""Counts for one inference of one image: multiply-accumulates in integers and in float, and the weights by type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from cxr_edge.artifacts.kinds import Quantization

#: Minimum share of integer multiply-accumulates, and of int8 weights, for an artifact that claims int8.
INT8_MACS, INT8_WEIGHTS = 0.99, 0.9
#: The shares above which a file is mixed rather than float.
MIXED_MACS, MIXED_WEIGHTS = 0.01, 0.1


class ComputationVerdict(StrEnum):
    """What a file actually computes in, regardless of its claim."""

    INT8 = "int8"
    MIXED = "mixed"
    FLOAT = "float"
    FLOAT_DESPITE_ITS_NAME = "float despite its name"


@dataclass(frozen=True)
class MultiplyingOperator:
    """An operator with a kernel: its layer's name, its multiply-accumulates, and whether they are in integers."""

    name: str
    macs: int
    is_integer: bool
    is_convolution: bool


@dataclass(frozen=True)
class Computation:
    """Counts over one inference of one image.

    Attributes:
        multiplying: the operators with a kernel, in execution order.
        operators: the number of each kind, the most frequent first.
        weight_bytes: size of all constants, by NumPy type name.
        kernel_bytes: size of the kernels alone, without biases, scales and zero points.
    """

    multiplying: tuple[MultiplyingOperator, ...]
    operators: Mapping[str, int]
    weight_bytes: Mapping[str, int]
    kernel_bytes: Mapping[str, int]

    @property
    def integer_macs(self) -> int:
        return sum(operator.macs for operator in self.multiplying if operator.is_integer)

    @property
    def float_macs(self) -> int:
        return sum(operator.macs for operator in self.multiplying if not operator.is_integer)

    @property
    def float_operators(self) -> tuple[str, ...]:
        """Names of the operators that multiply in float."""
        return tuple(operator.name for operator in self.multiplying if operator.macs and not operator.is_integer)

    def convolutions(self, integer: bool) -> int:
        """How many convolutions compute in integers, or in float."""
        return sum(operator.is_convolution and operator.is_integer is integer for operator in self.multiplying)

    @property
    def integer_share(self) -> float:
        """Share of the multiply-accumulates done in integers."""
        total = self.integer_macs + self.float_macs
        return self.integer_macs / total if total else 0.0

    @property
    def integer_weight_share(self) -> float:
        """Share of the kernels' bytes that are int8.

        Biases and scales do not count: every int8 file has them, and in a small network they are a fifth of the bytes.
        """
        small = sum(self.kernel_bytes.get(dtype, 0) for dtype in ("int8", "uint8"))
        total = small + sum(self.kernel_bytes.get(dtype, 0) for dtype in ("float16", "float32", "float64"))
        return small / total if total else 0.0

    def verdict(self, claimed: Quantization) -> ComputationVerdict:
        """What the file actually computes in, regardless of its claim.

        The weights in the file count too: ONNX Runtime can quantize float weights on loading, which makes neither the
        file smaller nor other runtimes faster.
        """
        if self.integer_share >= INT8_MACS and self.integer_weight_share >= INT8_WEIGHTS:
            return ComputationVerdict.INT8
        if self.integer_share > MIXED_MACS and self.integer_weight_share > MIXED_WEIGHTS:
            return ComputationVerdict.MIXED
        return ComputationVerdict.FLOAT_DESPITE_ITS_NAME if claimed.is_integer else ComputationVerdict.FLOAT
