"""What an export writes for one kind of device, as data. `export/README.md` explains it to the writers of recipes."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.errors import OptionError
from cxr_edge.evaluation.gate import Gate
from cxr_edge.lowering.activations import ActivationFormat, ActivationType

#: ONNX opsets: 13 brought scales per channel, 18 is the newest that tf2onnx writes.
OPSETS = tuple(range(13, 19))


class OutputType(StrEnum):
    """Type of the probabilities."""

    FLOAT32 = "float32"
    #: For accelerators without float: probability = (q + 128) / 256.
    INT8 = "int8"


class Batch(StrEnum):
    """How many images a file takes at once."""

    ANY = "any"
    #: Where a compiler refuses an open batch.
    ONE = "one"

    @property
    def size(self) -> int | None:
        """N, or None where it is open."""
        return 1 if self is Batch.ONE else None


class DenseWeights(StrEnum):
    """Scales of a fully connected layer's kernel."""

    PER_CHANNEL = "per-channel"
    #: For runtimes older than fully connected layers with a scale per channel.
    PER_TENSOR = "per-tensor"


@dataclass(frozen=True)
class Recipe:
    """What to write: `export/README.md` says what each key means. Without a `name`, put together from options.

    Raises:
        OptionError: values that cannot go together.
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
            raise OptionError("formats and quantize: name one at least")
        integers = [quantization.is_integer for quantization in self.quantize]
        if self.output_type is OutputType.INT8 and (ArtifactFormat.ONNX in self.formats or not all(integers)):
            raise OptionError("output_type int8: only int8 TFLite files end in integers; formats tflite, quantize int8")
        if self.output_type is OutputType.INT8 and self.heatmap:
            raise OptionError("output_type int8: the heat map is float; add heatmap = false")
        if self.keep_float and not any(integers):
            raise OptionError("keep_float: nothing is quantized here; quantize int8 or int8-ptq")
        self.parity.check()
        self.activations.check()

    @property
    def activations(self) -> ActivationFormat:
        """The integers of int8 ONNX files."""
        return ActivationFormat(self.activation_type, self.reduced_range, self.symmetric_activations)

    def yields(self, quantization: Quantization) -> Quantization:
        """What an artifact is: one with layers left in float is mixed, and not int8."""
        return quantization.mixed() if self.keep_float else quantization
