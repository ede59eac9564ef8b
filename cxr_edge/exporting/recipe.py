"""What an export writes for one kind of device, as data. `export/README.md` explains it to recipe authors."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatch

from cxr_edge.artifacts.gate import Gate
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.errors import OptionError
from cxr_edge.lowering.activations import ActivationFormat, ActivationType

#: ONNX opsets: 13 brought scales per channel, 18 is the newest that tf2onnx supports.
OPSETS = tuple(range(13, 19))
#: In place of a recipe's name, in the folder of a cascade's bundle.
CASCADE = "cascade"

#: The layer that reads the image, in every network of this project.
_FIRST_LAYER = "block1_conv1"


class OutputType(StrEnum):
    """Data type of the probabilities."""

    FLOAT32 = "float32"
    #: For accelerators without float: probability = (q + 128) / 256.
    INT8 = "int8"


class Batch(StrEnum):
    """How many images a file accepts at once."""

    ANY = "any"
    #: For compilers that refuse a dynamic batch.
    ONE = "one"

    @property
    def size(self) -> int | None:
        """N, or None if it is dynamic."""
        return 1 if self is Batch.ONE else None


class DenseWeights(StrEnum):
    """Scales of a fully connected layer's kernel."""

    PER_CHANNEL = "per-channel"
    #: For runtimes that predate per-channel scales in fully connected layers.
    PER_TENSOR = "per-tensor"


@dataclass(frozen=True)
class Recipe:
    """What to write: `export/README.md` explains each key. A recipe without a `name` was built from options.

    Raises:
        OptionError: two values are incompatible.
    """

    formats: tuple[ArtifactFormat, ...]
    quantize: tuple[Quantization, ...]
    activation_type: ActivationType = ActivationType.UINT8
    reduced_range: bool = False
    symmetric_activations: bool = False
    output_type: OutputType = OutputType.FLOAT32
    batch: Batch = Batch.ANY
    dense_weights: DenseWeights = DenseWeights.PER_CHANNEL
    opset: int = 17
    keep_float: tuple[str, ...] = ()
    heatmap: bool = True
    parity: Gate = field(default_factory=Gate)
    device: str = ""
    why: str = ""
    name: str | None = None

    def __post_init__(self) -> None:
        if not self.formats or not self.quantize:
            raise OptionError("formats and quantize: name at least one of each")
        integers = [quantization.is_integer for quantization in self.quantize]
        if self.output_type is OutputType.INT8 and (ArtifactFormat.ONNX in self.formats or not all(integers)):
            raise OptionError("output_type int8: only int8 TFLite files end in integers; formats tflite, quantize int8")
        if self.output_type is OutputType.INT8 and self.heatmap:
            raise OptionError("output_type int8: the heat map is float; add heatmap = false")
        if self.keep_float and not any(integers):
            raise OptionError("keep_float: nothing is quantized here; quantize int8 or int8-ptq")
        self.parity.check()
        self.activations.check()
        if self.symmetric_activations and ArtifactFormat.ONNX in self.formats and any(integers):
            self._require_first_layer_in_float()

    def _require_first_layer_in_float(self) -> None:
        """Raises OptionError here, not after the fine-tuning, if the image would need a zero point of 0."""
        if not any(fnmatch(_FIRST_LAYER, pattern) for pattern in self.keep_float):
            raise OptionError(
                f'symmetric_activations: the image has no symmetric range; add keep_float = ["{_FIRST_LAYER}"]'
            )

    @property
    def activations(self) -> ActivationFormat:
        """The activation format of int8 ONNX files."""
        return ActivationFormat(self.activation_type, self.reduced_range, self.symmetric_activations)

    def yields(self, quantization: Quantization) -> Quantization:
        """The quantization that an artifact gets: with layers left in float it is mixed, not int8."""
        return quantization.mixed() if self.keep_float else quantization
