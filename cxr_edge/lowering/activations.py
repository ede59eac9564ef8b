"""The integer format of an ONNX file's activations: three independent choices."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from cxr_edge.errors import OptionError


class ActivationType(StrEnum):
    """8-bit type of the activations. Kernels are int8 in either case."""

    #: x86: the dot products of VNNI and VPMADDUBSW multiply unsigned activations by signed weights.
    UINT8 = "uint8"
    #: Arm: SDOT and SMLAL multiply signed by signed.
    INT8 = "int8"


@dataclass(frozen=True)
class ActivationFormat:
    """How activations and kernels are written as integers.

    Args:
        activation_type: the integer type.
        reduced_range: kernels within -64..64, for x86 without VNNI, whose VPMADDUBSW adds two products in 16 bits: two
            of 255 and 64 fit, two of 255 and 127 do not.
        symmetric: every zero point is 0, for TensorRT. It fuses ReLU and pooling only when they are float operators,
            reads no int32 `DequantizeLinear`, and takes uint8 and flattens only in float.
    """

    activation_type: ActivationType = ActivationType.UINT8
    reduced_range: bool = False
    symmetric: bool = False

    def check(self) -> None:
        """Raises OptionError for symmetric uint8 activations, which are fast on no runtime."""
        if self.symmetric and self.activation_type is not ActivationType.INT8:
            raise OptionError(
                f"symmetric_activations with activation_type {self.activation_type}: zero points of 0 are for int8"
            )

    @property
    def dtype(self) -> np.dtype[np.integer]:
        return np.dtype(self.activation_type.value)

    @property
    def offset(self) -> int:
        """The difference between the integers here and TFLite's int8 for the same value, zero point included."""
        return 128 if self.activation_type is ActivationType.UINT8 else 0

    @property
    def lowest(self) -> int:
        """The smallest integer of the type."""
        return int(np.iinfo(self.dtype).min)

    @property
    def holds_image(self) -> bool:
        """Whether the grey values 0..255 pass unchanged: as uint8 activations, or to a first layer in float."""
        return self.activation_type is ActivationType.UINT8 or self.symmetric
