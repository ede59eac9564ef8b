"""One plain sentence on the winner: its speed against the baseline, how certain that is, and what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.benchmarking.noise import Noise
from cxr_edge.benchmarking.ratios import Speed

if TYPE_CHECKING:
    from cxr_edge.benchmarking.record import BenchRecord, Row


def conclusion(record: BenchRecord) -> str:
    """The sentence on a record; it never calls a row faster whose interval includes 1."""
    row = record.winner
    base = record.baseline_of(row)
    doubt = noise_remark(record.noise) if record.noise.noisy else None
    if row.speed is Speed.BASELINE:
        what, milliseconds = ("mean", row.mean_ms) if record.by_mean else ("median", row.p50_ms)
        failed = [other.id for other in record.rows if _is_faster_but_failed(other, row, record.by_mean)]
        among = " of those that passed their parity gate" if failed else ""
        parts = [f"{_name(row)}, the baseline, has the lowest {what}{among}: {milliseconds:.1f} ms"]
        parts += [f"faster but failed: {', '.join(failed)}"] if failed else []
        close = [other.id for other in record.rows if _close(other, row)]
        parts += [f"which cannot be told apart from that of {', '.join(close)}"] if close else []
    else:
        parts = [_against(row, base), *_costs(row, base)]
    return "; ".join([", ".join(parts), *([doubt] if doubt else [])]) + "."


def noise_remark(noise: Noise) -> str:
    """Whether the machine was quiet enough."""
    if noise.noisy:
        return f"the machine was too noisy to tell small differences: {', '.join(noise.reasons)}"
    return f"the machine was quiet: rounds spread by {100 * noise.spread:.1f} %"


def _name(row: Row) -> str:
    return f"{row.artifact} on {row.runtime}"


def _is_faster_but_failed(other: Row, row: Row, by_mean: bool) -> bool:
    is_faster = other.mean_ms < row.mean_ms if by_mean else other.p50_ms < row.p50_ms
    return is_faster and other.verdict is Verdict.FAILED


def _close(other: Row, row: Row) -> bool:
    return other.threads == row.threads and other.speed is Speed.UNDECIDED


def _against(row: Row, base: Row) -> str:
    interval = row.speed_interval
    if interval is None:
        sure = "too few rounds for an interval"
    else:
        sure = f"95 % interval {interval[0]:.2f} to {interval[1]:.2f}"
    if row.speed is Speed.FASTER:
        return f"{_name(row)}: {row.speed_up:.2f} times the speed of {_name(base)} ({sure})"
    measured = f"{row.speed_up:.2f} times its speed, {sure}"
    if row.speed is Speed.SLOWER:
        return f"{_name(row)}: slower than {_name(base)} ({measured})"
    return f"{_name(row)}: its speed cannot be told apart from that of {_name(base)} ({measured})"


def _costs(row: Row, base: Row) -> list[str]:
    costs = []
    if row.accuracy is not None and base.accuracy is not None:
        points = 100 * (row.accuracy - base.accuracy)
        costs.append(f"accuracy {points:+.1f} points" if abs(points) >= 0.05 else "same accuracy")
    if row.verdict is not None:
        costs.append(f"parity: {row.verdict}")
    if row.energy_mj is not None and base.energy_mj:
        costs.append(f"{row.energy_mj / base.energy_mj:.2f} of its energy")
    return costs
