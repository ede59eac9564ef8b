"""The artifact contract: names, types and shapes of what goes in and comes out, the same for every artifact."""

from __future__ import annotations

from dataclasses import dataclass, field

#: Names of the tensors in every artifact, and of the graph's ends before it is one.
IMAGE, PROBABILITIES, HEATMAP = "image", "probabilities", "heatmap"
#: The first size of a shape that takes any number of images.
ANY = "N"
#: Scale and zero point of int8 probabilities: TFLite fixes them for an int8 softmax.
INT8_PROBABILITY = (1 / 256, -128)


@dataclass(frozen=True)
class TensorSpec:
    """A tensor's name, type and shape; of an integer one that stands for real numbers, its scale and zero point too."""

    name: str
    type: str
    shape: tuple[int | str, ...]
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Contract:
    """What an artifact takes and gives: grey values uint8 `[N, S, S, 1]` in, probabilities `[N, K]` out, and of most
    artifacts a heat map float32 `[N, H, W, K]`: at each place, the evidence for each class. Its mean over all places,
    through a softmax, is the probabilities."""

    image: TensorSpec = field(metadata={"key": "input"})
    probabilities: TensorSpec = field(metadata={"key": "output"})
    heatmap: TensorSpec | None = None

    @property
    def image_size(self) -> int:
        """S, in pixels."""
        return int(self.image.shape[1])

    @property
    def takes_any_number(self) -> bool:
        """Whether N is open, and not 1."""
        return self.image.shape[0] == ANY

    def is_known(self, classes: int) -> bool:
        """Whether this is a contract that this version of cxr-edge writes, for a number of classes."""
        batch, image_size, *_ = self.image.shape
        if self.probabilities.type not in ("float32", "int8") or batch not in (ANY, 1) or isinstance(image_size, str):
            return False
        only = None if batch == ANY else 1
        return self == contract(image_size, classes, self.probabilities.type, only, self.heatmap is not None)


def heatmap_size(image_size: int) -> int:
    """Height and width of Xception's last feature map, and so of a heat map."""
    # Two convolutions without padding, of which the first has a stride of 2; then four strides with padding.
    return -(-((image_size - 3) // 2 - 1) // 16)


def contract(
    image_size: int, classes: int, output_type: str = "float32", batch: int | None = None, heatmap: bool = False
) -> Contract:
    """The contract of an artifact, float or int8, TFLite or ONNX.

    Args:
        image_size: S, in pixels.
        classes: K.
        output_type: `float32`, or `int8`, which a recipe for an accelerator without float may ask for.
        batch: the only N that the file takes; None for any.
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
