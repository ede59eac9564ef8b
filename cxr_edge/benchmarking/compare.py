"""Compare a record with an earlier one of the same machine: has anything become slower?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from cxr_edge.benchmarking.ratios import ratio_interval
from cxr_edge.benchmarking.record import BenchRecord, Row
from cxr_edge.errors import GateError, OptionError
from cxr_edge.machine import Machine
from cxr_edge.wording import counted

#: A slowdown beyond this share is a regression, if the interval leaves no doubt.
TOLERANCE = 0.05


class Change(StrEnum):
    """The change in a row: "cannot tell" if its interval is inconclusive, "gone" if the new record lacks the row."""

    SLOWER = "slower"
    FASTER = "faster"
    SAME = "same"
    UNKNOWN = "cannot tell"
    GONE = "gone"


@dataclass(frozen=True)
class ComparedRow:
    """A row of two records side by side: medians, with a cascade means; new to old with its interval; the verdict.

    The new figures of a row that is gone are None, as is the interval if there were too few rounds.
    """

    id: str
    threads: int
    old_ms: float
    new_ms: float | None
    ratio: float | None
    interval: tuple[float, float] | None
    verdict: Change


def compare(old: BenchRecord, new: BenchRecord) -> tuple[ComparedRow, ...]:
    """The rows of two records side by side.

    The rounds of the two records were not interleaved, so changes of the machine in between show as well: a row is a
    regression only if the whole interval of its ratio lies above `1 + TOLERANCE`.

    Raises:
        OptionError: the records are of different machines or image sizes; of a cascade and none, or of cascades on
            different images.
    """
    require_comparable(old, new.machine, new.image_size)
    if old.by_mean != new.by_mean:
        raise OptionError("--compare: one record has a cascade, so its figures are means; the other's are medians")
    if new.by_mean and old.images != new.images:
        raise OptionError(
            f"--compare: the old record is of {old.images.count} {old.images.source}, this is of {new.images.count} "
            f"{new.images.source}; a cascade's latency depends on the images"
        )
    rows = {_key(row): row for row in new.rows}
    return tuple(_compared(row, rows.get(_key(row)), new.by_mean) for row in old.rows)


def require_comparable(old: BenchRecord, machine: Machine, image_size: int) -> None:
    """What can be checked before minutes of measuring. Raises OptionError for another machine or image size."""
    for name in ("cpu", "cores", "architecture"):
        before, now = getattr(old.machine, name), getattr(machine, name)
        if before != now:
            raise OptionError(
                f"--compare: the old record is of another machine ({name} {before}, here {now}); latencies of two "
                "machines say nothing about a regression"
            )
    if old.image_size != image_size:
        raise OptionError(f"--compare: the old record is of {old.image_size} px images, this is {image_size}")


def _key(row: Row) -> tuple[str, int]:
    # Files exported before November 2026 call float32 "none".
    return row.id.replace("xception-none.", "xception-float32."), row.threads


def _compared(old: Row, new: Row | None, by_mean: bool) -> ComparedRow:
    before = old.mean_ms if by_mean else old.p50_ms
    if new is None:
        return ComparedRow(old.id, old.threads, before, None, None, None, Change.GONE)
    now = new.mean_ms if by_mean else new.p50_ms
    interval = ratio_interval(new.rounds_ms, old.rounds_ms, paired=False, by_mean=by_mean)
    return ComparedRow(old.id, old.threads, before, now, now / before, interval, _judge(interval))


def _judge(interval: tuple[float, float] | None) -> Change:
    if interval is None:
        return Change.UNKNOWN
    low, high = interval
    if low > 1 + TOLERANCE:
        return Change.SLOWER
    if high < 1 - TOLERANCE:
        return Change.FASTER
    return Change.SAME if low >= 1 - TOLERANCE and high <= 1 + TOLERANCE else Change.UNKNOWN


def require_no_regression(rows: Sequence[ComparedRow]) -> None:
    """Raises GateError naming what became slower, or is no longer measured."""
    slower = [
        f"{row.id} ({counted(row.threads, 'thread')}) {row.ratio:.2f}" for row in rows if row.verdict is Change.SLOWER
    ]
    gone = [row.id for row in rows if row.verdict is Change.GONE]
    parts = [f"slower than the old record: {', '.join(slower)}"] if slower else []
    parts += [f"in the old record and not measured now: {', '.join(gone)}"] if gone else []
    if parts:
        raise GateError("; ".join(parts))
