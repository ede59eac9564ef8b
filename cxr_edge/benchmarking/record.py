"""The record of a benchmark: what `bench --json` writes, and `--compare` and the report read."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from cxr_edge.artifacts.kinds import Quantization, TrainingData
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.benchmarking.conclusion import conclusion
from cxr_edge.benchmarking.files import FileTimes, ImageSource
from cxr_edge.benchmarking.latency import Latency
from cxr_edge.benchmarking.migration import current_record
from cxr_edge.benchmarking.noise import Noise
from cxr_edge.benchmarking.ratios import Speed
from cxr_edge.benchmarking.startup import StartUp
from cxr_edge.benchmarking.throughput import Throughput
from cxr_edge.errors import DataError
from cxr_edge.files import MAX_RECORD_BYTES, read_bounded
from cxr_edge.machine import Machine
from cxr_edge.records import from_json

SCHEMA = 3


class WarningKind(StrEnum):
    """What a warning is about: something left out of the table, an artifact that may not answer as validated, a
    candidate that did not start in a separate process, a figure that could not be measured, or skipped images; in older
    records, anything.
    """

    LEFT_OUT = "left out"
    DOUBTFUL = "doubtful"
    NOT_STARTED = "not started"
    NOT_MEASURED = "not measured"
    SHORTENED = "shortened"
    OTHER = "other"


@dataclass(frozen=True)
class BenchWarning:
    """`subject` is the artifact, row or runtime concerned."""

    kind: WarningKind
    subject: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is measured: an artifact, or the Keras model, on a runtime, with a number of threads.

    `accuracy`, `agreement` (with Keras) and `verdict` are from the test split at export, None if unknown; `ran_on` is
    the hardware that the runtime reports. `sha256` is the artifact's; None for the Keras model, and in older records.
    """

    id: str
    artifact: str
    runtime: str
    threads: int
    quantization: Quantization
    bytes: int
    accuracy: float | None
    agreement: float | None
    verdict: Verdict | None
    ran_on: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class AgainstBaseline:
    """The latency as a ratio to that of `baseline`, the `id` of a row with the same number of threads; `speed_up` is
    its inverse. The ratio is of medians, or of means in a record with a cascade.

    The interval is the ratio's; None for the baseline itself, and if there were too few rounds.
    """

    baseline: str
    ratio: float
    ratio_interval: tuple[float, ...] | None
    speed_up: float
    speed: Speed

    @property
    def speed_interval(self) -> tuple[float, float] | None:
        """The interval of `speed_up`: inverting swaps the bounds."""
        if self.ratio_interval is None:
            return None
        low, high = self.ratio_interval
        return 1 / high, 1 / low


@dataclass(frozen=True, kw_only=True)
class Row(AgainstBaseline, Latency, Facts):
    """One line of the table. `nodes_on` counts the nodes that each processing unit of an accelerator's session
    computes. `escalated` is the share of a cascade's queries that its full model answered; None for anything else.
    """

    winner: bool
    escalated: float | None = None
    nodes_on: dict[str, int] | None = None
    throughput: Throughput | None = None
    startup: StartUp | None = None

    @property
    def one_figure_ms(self) -> float:
        """The latency in one figure: the median; for a cascade the mean, since the median hides its slow images."""
        return self.p50_ms if self.escalated is None else self.mean_ms

    @property
    def title(self) -> str:
        """The artifact; of a cascade also the figures that the percentiles do not show."""
        if self.escalated is None:
            return self.artifact
        return f"{self.artifact} (mean {self.mean_ms:.2f} ms, {100 * self.escalated:.1f} % to the full model)"


@dataclass(frozen=True)
class Images:
    """The classified files."""

    source: ImageSource
    count: int


@dataclass(frozen=True, kw_only=True)
class FromFiles(FileTimes):
    """The winner's times from file to answer, with the `id` of its row and its threads."""

    id: str
    threads: int
    source: ImageSource


@dataclass(frozen=True, kw_only=True)
class BenchRecord:
    """The result of a benchmark; rows are sorted by median (with a cascade, by mean), fastest first.

    `energy` says what the energy figures cover; `conclusion` is one sentence on the winner
    (`cxr_edge.benchmarking.conclusion`).
    """

    schema: int = SCHEMA
    cxr_edge: str
    date: str
    command: tuple[str, ...]
    notice: str = NOTICE
    machine: Machine
    threads: tuple[int, ...]
    queries: int
    seconds: float
    quick: bool
    image_size: int
    images: Images
    trained_on: TrainingData
    baseline: str
    energy: str | None
    noise: Noise
    rows: tuple[Row, ...]
    from_files: FromFiles
    warnings: tuple[BenchWarning, ...]
    conclusion: str = ""

    @property
    def by_mean(self) -> bool:
        """Whether it has a cascade, so that ratios are those of means."""
        return any(row.escalated is not None for row in self.rows)

    @property
    def winner(self) -> Row:
        return next(row for row in self.rows if row.winner)

    def baseline_of(self, row: Row) -> Row:
        """The row that `row` is compared with."""
        return next(other for other in self.rows if (other.id, other.threads) == (row.baseline, row.threads))

    def is_of(self, hashes: Collection[str]) -> bool:
        """Whether no row is of a file with another SHA-256; the Keras model and older records have none."""
        return all(row.sha256 is None or row.sha256 in hashes for row in self.rows)

    def concluded(self) -> BenchRecord:
        """A copy with its conclusion."""
        return replace(self, conclusion=conclusion(self))


def read_record(path: Path) -> BenchRecord:
    """Read a record written by `bench --json`, of any schema. Raises DataError for other files and later schemas."""
    try:
        record = current_record(json.loads(read_bounded(path, MAX_RECORD_BYTES)))
        # The sentence of an older record may claim more than its figures support.
        return from_json(BenchRecord, record).concluded()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, StopIteration) as error:
        raise DataError(f"{path}: not a record of cxr-edge bench that this version can read ({error})") from None
