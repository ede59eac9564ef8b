"""Networks within a budget, one for each depth and input size: by multiply-accumulates, or by measured latency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cxr_edge.errors import OptionError
from cxr_edge.intervals import Interval
from cxr_edge.runs.config import Candidate
from cxr_edge.runs.network import Network
from cxr_edge.shrinking.importance import Importance
from cxr_edge.shrinking.widths import Kept, least_macs, prune
from cxr_edge.wording import counted

#: Middle blocks by which one candidate is shorter than the one before.
BLOCKS_APART = 2
#: Most rounds of measurements, and how far below the budget a network may stay before another width is tried.
ROUNDS, SLACK = 5, 0.03


@dataclass(frozen=True)
class Shape:
    """A network before its widths are decided: its depth, by the middle blocks that it lacks, and its input size."""

    network: Network
    without: tuple[int, ...]
    image_size: int

    def __str__(self) -> str:
        return f"{self.image_size} px, {counted(len(self.without), 'block')} fewer"


@dataclass(frozen=True)
class Narrowed:
    """A network of decided widths, the teacher's channels that it keeps, and its multiply-accumulates for one image.

    `latency` is its share of the teacher's; None if it was not measured.
    """

    shape: Shape
    network: Network
    kept: Kept
    macs: int
    latency: Interval | None = None

    @property
    def share(self) -> float:
        """The measured latency; only of a network that was measured."""
        assert self.latency is not None and self.latency.value is not None
        return self.latency.value

    def candidate(self, divergence: float) -> Candidate:
        """What is recorded of it, with the divergence of its answers from the teacher's."""
        size = None if self.latency is None else self.shape.image_size
        return Candidate(self.shape.without, self.macs, divergence, size, self.latency)


#: Measures networks in turn with the teacher: the latency of each as a share of the teacher's.
Measure = Callable[[Sequence[Narrowed]], Sequence[Interval]]


def shapes_of(network: Network, drops: Sequence[int], image_sizes: Sequence[int]) -> list[Shape]:
    """Every depth at every input size.

    Args:
        network: the teacher's.
        drops: its middle blocks, the one to leave out first at the start.
        image_sizes: pixels.
    """
    depths = [tuple(sorted(drops[:count])) for count in range(0, len(drops) + 1, BLOCKS_APART)]
    return [Shape(network.without(without), without, size) for size in image_sizes for without in depths]


def within_macs(shapes: Sequence[Shape], importance: Importance, full: int, share: float) -> list[Narrowed]:
    """The widest networks of the shapes, all of one input size, that a number of multiply-accumulates allows.

    Args:
        shapes: depths and input sizes.
        importance: of the channels.
        full: the teacher's multiply-accumulates.
        share: of them, the budget.

    Raises:
        OptionError: it allows none, even at its least widths.
    """
    narrowed = [_narrowed(shape, importance, int(share * full)) for shape in shapes]
    within = [network for network in narrowed if network is not None]
    if not within:
        raise OptionError(
            f"--macs {share}: at {shapes[0].image_size} px the network is too narrow; raise it or lower --image-size"
        )
    return within


def _narrowed(shape: Shape, importance: Importance, budget: int) -> Narrowed | None:
    result = prune(shape.network, importance, budget, shape.image_size)
    if result is None:
        return None
    network, kept = result
    return Narrowed(shape, network, kept, network.macs(shape.image_size))


def within_latency(
    shapes: Sequence[Shape], importance: Importance, full: int, share: float, measure: Measure
) -> list[Narrowed]:
    """The widest networks of the shapes that are as fast as demanded.

    The first round measures each shape at its least widths; those that are too slow are out. Of the others, a wider
    network is a slower one: the width is found by interpolation between two that were measured.

    Args:
        shapes: depths and input sizes.
        importance: of the channels.
        full: the teacher's multiply-accumulates.
        share: of the teacher's latency.
        measure: is asked about all shapes at once, so that they are measured side by side.

    Raises:
        OptionError: none is as fast, even at its least widths.
    """
    searches = [_Search(shape, importance, share, int(share * full)) for shape in shapes]
    for _ in range(ROUNDS):
        proposals = {index: proposal for index, own in enumerate(searches) if (proposal := own.proposal()) is not None}
        if not proposals:
            break
        for (index, proposal), latency in zip(proposals.items(), measure(list(proposals.values())), strict=True):
            searches[index].measured.append(replace(proposal, latency=latency))
    within = [widest for search in searches if (widest := search.widest()) is not None]
    if not within:
        fastest = min((own for search in searches for own in search.measured), key=lambda own: own.share)
        raise OptionError(
            f"--latency {share}: the fastest network takes {fastest.share:.3f} of the teacher's latency "
            f"({fastest.shape}); raise it, or lower --image-size"
        )
    return within


class _Search:
    """The widths of one shape.

    Args:
        shape: of the networks.
        importance: of the channels.
        share: of the teacher's latency, demanded.
        guess: how many multiply-accumulates may take that long.
    """

    def __init__(self, shape: Shape, importance: Importance, share: float, guess: int) -> None:
        self.shape, self.importance, self.wanted, self.guess = shape, importance, share, guess
        self.least, self.most = least_macs(shape.network, shape.image_size), shape.network.macs(shape.image_size)
        self.measured: list[Narrowed] = []

    def widest(self) -> Narrowed | None:
        """The widest of the measured networks within the budget."""
        fitting = [own for own in self.measured if own.share <= self.wanted]
        return max(fitting, key=lambda own: own.macs, default=None)

    def proposal(self) -> Narrowed | None:
        """The network to measure next; None if there is nothing to gain."""
        macs = self.least
        if self.measured:
            widest = self.widest()
            if widest is None or widest.share >= (1 - SLACK) * self.wanted:
                return None
            macs = max(self.least, min(self.most, self._macs_beyond(widest)))
        proposal = _narrowed(self.shape, self.importance, macs)
        assert proposal is not None
        return None if any(own.network == proposal.network for own in self.measured) else proposal

    def _macs_beyond(self, widest: Narrowed) -> int:
        """Multiply-accumulates for the middle of the slack, on a line through the widest that fits and a neighbour."""
        if len(self.measured) == 1:
            return self.guess
        too_slow = [own for own in self.measured if own.macs > widest.macs]
        narrower = [own for own in self.measured if own.macs < widest.macs]
        other = min(too_slow, key=lambda own: own.macs) if too_slow else max(narrower, key=lambda own: own.macs)
        slope = (other.share - widest.share) / (other.macs - widest.macs)
        # Of two that both fit, noise can turn the slope.
        return widest.macs + int(((1 - SLACK / 2) * self.wanted - widest.share) / slope) if slope > 0 else self.most
