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

#: Number of middle blocks by which the candidates' depths differ.
BLOCKS_APART = 2
#: Maximum rounds of measurements, and the share of the budget that a network may leave unused.
ROUNDS, SLACK = 5, 0.03


@dataclass(frozen=True)
class Shape:
    """A candidate before its widths are decided: which middle blocks it omits, and its input size."""

    network: Network
    without: tuple[int, ...]
    image_size: int

    def __str__(self) -> str:
        return f"{self.image_size} px, {counted(len(self.without), 'block')} fewer"


@dataclass(frozen=True)
class Narrowed:
    """A candidate with its widths, the teacher's channels that it keeps, and its multiply-accumulates per image.

    `latency` is a share of the teacher's latency; None if it was not measured.
    """

    shape: Shape
    network: Network
    kept: Kept
    macs: int
    latency: Interval | None = None

    @property
    def share(self) -> float:
        """The latency as a share of the teacher's; only for a measured network."""
        assert self.latency is not None and self.latency.value is not None
        return self.latency.value

    def candidate(self, divergence: float) -> Candidate:
        """Its record, with the divergence of its answers from the teacher's."""
        size = None if self.latency is None else self.shape.image_size
        return Candidate(self.shape.without, self.macs, divergence, size, self.latency)


#: Measures networks in turn with the teacher, and returns each one's latency as a share of the teacher's.
Measure = Callable[[Sequence[Narrowed]], Sequence[Interval]]


def shapes_of(network: Network, drops: Sequence[int], image_sizes: Sequence[int]) -> list[Shape]:
    """Every depth at every input size.

    Args:
        network: the teacher's.
        drops: its middle blocks in the order of removal.
        image_sizes: pixels.
    """
    depths = [tuple(sorted(drops[:count])) for count in range(0, len(drops) + 1, BLOCKS_APART)]
    return [Shape(network.without(without), without, size) for size in image_sizes for without in depths]


def within_macs(shapes: Sequence[Shape], importance: Importance, full: int, share: float) -> list[Narrowed]:
    """The widest network of each shape within a budget of multiply-accumulates, if any; the shapes have one input size.

    Args:
        shapes: depths and input sizes.
        importance: of the channels.
        full: the teacher's multiply-accumulates.
        share: the budget, as a share of `full`.

    Raises:
        OptionError: no shape is within the budget, even at its least widths.
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
    """The widest network of each shape within a latency budget, if any.

    The first round measures each shape at its least widths and drops those that are too slow. For the rest, latency
    grows with width, so the width is found by interpolating between two measured networks.

    Args:
        shapes: depths and input sizes.
        importance: of the channels.
        full: the teacher's multiply-accumulates.
        share: the budget, as a share of the teacher's latency.
        measure: called once per round with all shapes, so that they are measured in turn.

    Raises:
        OptionError: no shape is fast enough, even at its least widths.
    """
    searches = [_Search(shape, importance, share, int(share * full)) for shape in shapes]
    for _ in range(ROUNDS):
        proposals = {
            index: proposal for index, search in enumerate(searches) if (proposal := search.proposal()) is not None
        }
        if not proposals:
            break
        for (index, proposal), latency in zip(proposals.items(), measure(list(proposals.values())), strict=True):
            searches[index].measured.append(replace(proposal, latency=latency))
    within = [widest for search in searches if (widest := search.widest()) is not None]
    if not within:
        measured = [network for search in searches for network in search.measured]
        fastest = min(measured, key=lambda network: network.share)
        raise OptionError(
            f"--latency {share}: the fastest network takes {fastest.share:.3f} of the teacher's latency "
            f"({fastest.shape}); raise it, or lower --image-size"
        )
    return within


class _Search:
    """The search for the widths of one shape.

    Args:
        shape: of the networks.
        importance: of the channels.
        budget: the required latency, as a share of the teacher's.
        guess: multiply-accumulates that are likely to take that long.
    """

    def __init__(self, shape: Shape, importance: Importance, budget: float, guess: int) -> None:
        self.shape, self.importance, self.budget, self.guess = shape, importance, budget, guess
        self.least, self.most = least_macs(shape.network, shape.image_size), shape.network.macs(shape.image_size)
        self.measured: list[Narrowed] = []

    def widest(self) -> Narrowed | None:
        """The widest of the measured networks within the budget."""
        fitting = [network for network in self.measured if network.share <= self.budget]
        return max(fitting, key=lambda network: network.macs, default=None)

    def proposal(self) -> Narrowed | None:
        """The network to measure next; None if the search is over."""
        macs = self.least
        if self.measured:
            widest = self.widest()
            if widest is None or widest.share >= (1 - SLACK) * self.budget:
                return None
            macs = max(self.least, min(self.most, self._macs_beyond(widest)))
        proposal = _narrowed(self.shape, self.importance, macs)
        assert proposal is not None
        return None if any(network.network == proposal.network for network in self.measured) else proposal

    def _macs_beyond(self, widest: Narrowed) -> int:
        """Multiply-accumulates for the middle of the slack, on a line through the widest that fits and a neighbour."""
        if len(self.measured) == 1:
            return self.guess
        too_slow = [network for network in self.measured if network.macs > widest.macs]
        narrower = [network for network in self.measured if network.macs < widest.macs]
        neighbour = (
            min(too_slow, key=lambda network: network.macs)
            if too_slow
            else max(narrower, key=lambda network: network.macs)
        )
        slope = (neighbour.share - widest.share) / (neighbour.macs - widest.macs)
        # If both fit, noise can make the slope negative.
        return widest.macs + int(((1 - SLACK / 2) * self.budget - widest.share) / slope) if slope > 0 else self.most
