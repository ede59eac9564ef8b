"""The artifact contract: names, types and shapes of inputs and outputs, the same for every artifact."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Names of the inputs and outputs of every artifact, and of the graph it is made from.
IMAGE, PROBABILITIES, HEATMAP = "image", "probabilities", "heatmap"
#: The first dimension of a shape for any number of images.
ANY = "N"
#: Scale and zero point of int8 probabilities: TFLite fixes them for an int8 softmax.
INT8_PROBABILITY = (1 / 256, -128)


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's name, type and shape; for integers that represent real numbers, also scale and zero point."""

    name: str
    type: str
    shape: tuple[int | str, ...]
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Contract:
    """Inputs and outputs of an artifact: grey values uint8 `[N, S, S, 1]` in, probabilities `[N, K]` out, and for most
    artifacts a heat map float32 `[N, H, W, K]`: the evidence for each class at each position. The softmax of its mean
    over all positions gives the probabilities.
    """

    image: TensorSpec = field(metadata={"key": "input"})
    probabilities: TensorSpec = field(metadata={"key": "output"})
    heatmap: TensorSpec | None = None

    @property
    def image_size(self) -> int:
        """S, in pixels."""
        return int(self.image.shape[1])

    @property
    def takes_any_number(self) -> bool:
        """Whether N is dynamic rather than 1."""
        return self.image.shape[0] == ANY

    def is_known(self, classes: int) -> bool:
        """Whether this version of cxr-edge writes this contract for the number of classes."""
        batch, image_size, *_ = self.image.shape
        if self.probabilities.type not in ("float32", "int8") or batch not in (ANY, 1) or isinstance(image_size, str):
            return False
        only = None if batch == ANY else 1
        return self == contract(image_size, classes, self.probabilities.type, only, self.heatmap is not None)


def heatmap_size(image_size: int) -> int:
    """Height and width of Xception's last feature map, and thus of a heat map."""
    # Two convolutions without padding, the first with a stride of 2, then four strides with padding.
    return -(-((image_size - 3) // 2 - 1) // 16)


def contract(
    image_size: int, classes: int, output_type: str = "float32", batch: int | None = None, heatmap: bool = False
) -> Contract:
    """The contract of an artifact, float or int8, TFLite or ONNX.

    Args:
        image_size: S, in pixels.
        classes: K.
        output_type: `float32`, or `int8`, which a recipe for an accelerator without float may request.
        batch: the only N that the file accepts; None for any.
        heatmap: whether there is a second output.
    """
    first: int | str = ANY if batch is None else batch
    scale, zero_point = INT8_PROBABILITY if output_type == "int8" else (None, None)
    side = heatmap_size(image_size)
    return Contract(
        TensorSpec(IMAGE, "uint8", (first, image_size, image_size, 1)),
        TensorSpec(PROBABILITIES, output_type, (first, classes), scale, zero_point),
        TensorSpec(HEATMAP, "float32", (first, side, side, classes)) if heatmap else None,
    )
