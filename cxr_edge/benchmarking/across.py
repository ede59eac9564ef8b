"""The benchmarks of several runs side by side: what accuracy each artifact has for its latency."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cxr_edge.artifacts.bundle import listed_artifacts
from cxr_edge.benchmarking.record import BenchRecord, Row, read_record
from cxr_edge.errors import OptionError, RunError
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact, recorded
from cxr_edge.intervals import Interval
from cxr_edge.machine import Machine
from cxr_edge.runs import Run


@dataclass(frozen=True)
class MeasuredArtifact:
    """An artifact's accuracy on `images` test images, and its benchmark row on the runtime that is fastest for it."""

    run: str
    accuracy: Interval
    images: int
    row: Row


@dataclass(frozen=True)
class AcrossRuns:
    """The artifacts of several runs, all measured on one machine; `warnings` say what weakens the comparison."""

    machine: Machine
    phantoms: bool
    artifacts: tuple[MeasuredArtifact, ...]
    warnings: tuple[str, ...]


def across_runs(runs: Sequence[Run]) -> AcrossRuns:
    """Join the last benchmark of each run with the accuracy of its artifacts at export.

    Raises:
        RunError: a run was not benched since its export.
        OptionError: two runs were benched on different machines.
        ArtifactError, DataError: a bundle or a benchmark's record is damaged.
    """
    records = []
    artifacts: list[MeasuredArtifact] = []
    warnings: list[str] = []
    for run in runs:
        record, measured = _measured(run)
        records.append(record)
        artifacts += measured
        if record.noise.noisy:
            warnings.append(f"{run.option}: the machine was noisy ({'; '.join(record.noise.reasons)})")
    machine = records[0].machine
    for run, record in zip(runs, records, strict=True):
        if (record.machine.cpu, record.machine.cores) != (machine.cpu, machine.cores):
            raise OptionError(
                f"{run.option}: benched on {record.machine.cpu}, {runs[0].option} on {machine.cpu}; latencies of "
                "different machines cannot be compared: bench both on one machine"
            )
    if len({run.config().data_sha256 for run in runs}) > 1:
        warnings.append("the runs were tested on different images: their accuracies are not paired")
    return AcrossRuns(machine, any(run.phantoms for run in runs), tuple(artifacts), tuple(warnings))


def _measured(run: Run) -> tuple[BenchRecord, list[MeasuredArtifact]]:
    way_out = f"cxr-edge bench --run {run.option} measures it"
    if not run.bench_file.is_file():
        raise RunError(f"{run.option}: no latency was measured; {way_out}")
    record = read_record(run.bench_file)
    verified: dict[str, VerifiedArtifact] = {
        artifact.sha256: recorded(artifact) for artifact in listed_artifacts(run.latest_bundle()) if artifact.parity
    }
    fastest: dict[tuple[str, int], Row] = {}
    for row in sorted(record.rows, key=lambda row: row.one_figure_ms):
        if row.sha256 in verified:
            fastest.setdefault((row.artifact, row.threads), row)
    if not fastest:
        raise RunError(f"{run.option}: was benched before its artifacts were exported; {way_out}")
    return record, [
        MeasuredArtifact(run.option, parity.intervals.accuracy, parity.images, row)
        for row in fastest.values()
        for parity in (verified[str(row.sha256)].parity,)
    ]
