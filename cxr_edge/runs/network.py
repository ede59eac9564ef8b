"""A run's network as data: which of Xception's blocks it has, and the width of each of their convolutions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import NamedTuple

#: Numbers of the Xception blocks that halve the resolution; each has a residual convolution.
DOWNSAMPLING = (2, 3, 4, 13)
FIRST, LAST = 1, 14
#: Group of the image's one channel.
IMAGE_CHANNELS = "image"


class Kind(StrEnum):
    """A full (3 x 3), separable (depthwise 3 x 3, then pointwise) or pointwise (1 x 1) convolution."""

    FULL = "full"
    SEPARABLE = "separable"
    POINTWISE = "pointwise"


@dataclass(frozen=True)
class Block:
    """A block: its number in Xception, and the output channels of its convolutions in order.

    Block 1 has two full convolutions; blocks 2, 3, 4 and 13 have two separable ones and a residual convolution; block
    14 has two separable ones. The others, the middle flow, add the output of three separable ones to their input.
    """

    number: int
    widths: tuple[int, ...]

    @property
    def is_middle(self) -> bool:
        """Whether the block adds to its input, so that the network also works without it."""
        return self.number not in (FIRST, *DOWNSAMPLING, LAST)

    @property
    def residual_convolution(self) -> str:
        """The name of its residual convolution, if it halves the resolution."""
        return f"residual_conv{DOWNSAMPLING.index(self.number) + 1}"

    @property
    def residual_sum(self) -> str:
        """The name of the sum at its end."""
        return f"residual_add{self.number - 1}"

    @property
    def output(self) -> str:
        """The name of its last layer."""
        return f"{self.convolution(1)}_act" if self.number in (FIRST, LAST) else self.residual_sum

    def convolution(self, index: int) -> str:
        """The name of one of its convolutions, from 0."""
        return f"block{self.number}_{'conv' if self.number == FIRST else 'sepconv'}{index + 1}"


@dataclass(frozen=True)
class Convolution:
    """A convolution by its name, with the groups of channels that it reads and writes.

    The channels of tensors that are added together form one group: they can only be removed together. `halvings` is how
    often the resolution is halved between the first convolution's output and this one's.
    """

    name: str
    kind: Kind
    reads: str
    writes: str
    halvings: int


@dataclass(frozen=True)
class Network:
    """Xception or a pruned version of it, without the classification head.

    Raises ValueError if its blocks do not fit together.
    """

    blocks: tuple[Block, ...]

    def __post_init__(self) -> None:
        numbers = [block.number for block in self.blocks]
        if numbers != sorted(set(numbers)) or not {FIRST, *DOWNSAMPLING, LAST} <= set(numbers) <= set(
            range(FIRST, LAST + 1)
        ):
            raise ValueError(
                f"a network has blocks 1 to 4, 13 and 14, and in order some of 5 to 12 between, not {numbers}"
            )
        width = 0
        for block in self.blocks:
            if len(block.widths) != 2 + block.is_middle or min(block.widths) < 1:
                raise ValueError(f"block {block.number} of a network cannot have the widths {block.widths}")
            if block.is_middle and block.widths[-1] != width:
                raise ValueError(f"block {block.number} of a network adds {block.widths[-1]} channels to {width}")
            width = block.widths[-1]

    @property
    def middle(self) -> tuple[int, ...]:
        """The numbers of its middle blocks, any of which can be left out."""
        return tuple(block.number for block in self.blocks if block.is_middle)

    def without(self, numbers: Collection[int]) -> Network:
        """The network without some of its middle blocks."""
        return Network(tuple(block for block in self.blocks if block.number not in numbers))

    def convolutions(self) -> Iterator[Convolution]:
        """All convolutions, in their order."""
        reads, halvings = IMAGE_CHANNELS, 0
        for block in self.blocks:
            start, kind = reads, Kind.FULL if block.number == FIRST else Kind.SEPARABLE
            for index in range(len(block.widths)):
                name = block.convolution(index)
                is_sum = block.is_middle and index == len(block.widths) - 1
                yield Convolution(name, kind, reads, start if is_sum else name, halvings)
                reads = start if is_sum else name
            if block.number in DOWNSAMPLING:
                halvings += 1
                yield Convolution(block.residual_convolution, Kind.POINTWISE, start, reads, halvings)

    def widths(self) -> dict[str, int]:
        """The number of channels of each group."""
        written = {block.convolution(index): width for block in self.blocks for index, width in enumerate(block.widths)}
        return {convolution.writes: written[convolution.writes] for convolution in self.convolutions()}

    def with_widths(self, widths: Mapping[str, int]) -> Network:
        """The network with other widths, by group."""
        group = {convolution.name: convolution.writes for convolution in self.convolutions()}
        return Network(
            tuple(
                replace(
                    block,
                    widths=tuple(widths[group[block.convolution(index)]] for index in range(len(block.widths))),
                )
                for block in self.blocks
            )
        )

    def costs(self, image_size: int) -> tuple[Cost, ...]:
        """The cost of each convolution; the head, at most a thousandth of their sum, is not counted."""
        # The first two have no padding, the first has a stride of 2.
        first, costs = (image_size - 1) // 2, []
        for index, convolution in enumerate(self.convolutions()):
            side = first if index == 0 else -(-(first - 2) // 2**convolution.halvings)
            costs.append(Cost(convolution.kind, convolution.reads, convolution.writes, side**2))
        return tuple(costs)

    def macs(self, image_size: int) -> int:
        """Multiply-accumulates of its convolutions for one image."""
        return macs_of(self.costs(image_size), self.widths())

    def described(self, image_size: int) -> str:
        """A description in words: Xception, or how much of it is left."""
        if self == XCEPTION:
            return "Xception"
        macs, whole = (each.macs(image_size) / 1e6 for each in (self, XCEPTION))
        blocks = f"{len(self.middle)} of {len(XCEPTION.middle)} middle blocks"
        return f"a smaller Xception ({blocks}, {macs:.0f} of {whole:.0f} million multiply-accumulates)"


class Cost(NamedTuple):
    """What determines a convolution's multiply-accumulates: its kind, its channel groups and its output positions."""

    kind: Kind
    reads: str
    writes: str
    positions: int


def macs_of(costs: Iterable[Cost], widths: Mapping[str, int]) -> int:
    """Multiply-accumulates of convolutions, for the given width of each group."""
    total = 0
    for kind, reads, writes, positions in costs:
        channels = widths.get(reads, 1)
        weights = channels * widths[writes] * (9 if kind is Kind.FULL else 1)
        total += positions * (weights + (9 * channels if kind is Kind.SEPARABLE else 0))
    return total


#: Xception as published.
XCEPTION = Network(
    (
        Block(1, (32, 64)),
        Block(2, (128, 128)),
        Block(3, (256, 256)),
        Block(4, (728, 728)),
        *(Block(number, (728, 728, 728)) for number in range(5, 13)),
        Block(13, (728, 1024)),
        Block(14, (1536, 2048)),
    )
)
