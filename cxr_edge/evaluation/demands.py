"""Judge an artifact's figures, compared with its Keras model, by the demands of its gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.gate import Demand, Gate
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.intervals import Interval

#: Tolerance at a limit: rounding errors must not change a verdict.
SLACK = 1e-9


def at_least(name: str, figure: Interval, limit: float, condition: str | None = None) -> Demand:
    """Failed if the share misses its limit, passed if its lower bound meets it, otherwise undecided: too few images."""
    assert figure.value is not None and figure.low is not None
    missed, proven = figure.value < limit - SLACK, figure.low >= limit - SLACK
    return Demand(name, figure.value, limit, figure.low, _verdict(missed, proven), condition)


def at_most(name: str, value: float, limit: float, bound: float) -> Demand:
    """The same for a drop and its upper bound."""
    return Demand(name, value, limit, bound, _verdict(value > limit + SLACK, bound <= limit + SLACK))


def not_proven_above(name: str, value: float, limit: float, bound: float, condition: str) -> Demand:
    """A loss fails only if it is also significantly above 0: a single flip among few images is no drift."""
    missed = value > limit + SLACK and bound > 0
    return Demand(name, value, limit, bound, _verdict(missed, not missed), condition)


def _verdict(missed: bool, proven: bool) -> Verdict:
    return Verdict.FAILED if missed else Verdict.PASSED if proven else Verdict.UNDECIDED


def gate_of(artifact: Artifact, demands: Mapping[str, float]) -> Gate:
    """The gate of an artifact at its export, or the usual one, with some demands overridden."""
    return replace(Gate() if artifact.parity is None else artifact.parity.result.gate, **demands)


def demanded(**demands: float | None) -> dict[str, float]:
    """The demands that were set, as arguments of `Gate`."""
    return {name: value for name, value in demands.items() if value is not None}
