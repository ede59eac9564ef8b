"""`cxr-edge bench`: every artifact on every runtime that reads it, and Keras if available."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge import __version__
from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.artifacts.verdict import Verdict
from cxr_edge.benchmarking.energy import EnergyMeter, energy_meter
from cxr_edge.benchmarking.files import ImageFiles, files_to_classify, measure_files
from cxr_edge.benchmarking.latency import Latency, measure, mixed_order, rounds_of, rounds_of_passes
from cxr_edge.benchmarking.noise import Clock, judge_noise, read_clock
from cxr_edge.benchmarking.options import BenchOptions
from cxr_edge.benchmarking.plan import Plan, plan_bench
from cxr_edge.benchmarking.ratios import Speed, judge_speed, paired_ratio, ratio_interval
from cxr_edge.benchmarking.record import (
    AgainstBaseline,
    BenchRecord,
    BenchWarning,
    FromFiles,
    Images,
    Row,
    WarningKind,
)
from cxr_edge.benchmarking.startup import DidNotStart, StartUp
from cxr_edge.benchmarking.targets import ArtifactSource, Target, artifact_target, keras_target
from cxr_edge.benchmarking.throughput import Throughput
from cxr_edge.errors import ArtifactError, CxrEdgeError, ImageError, OptionError, ProviderError, unusable
from cxr_edge.imaging.decode import open_grey
from cxr_edge.machine import describe_machine
from cxr_edge.processors import usable_cores
from cxr_edge.progress import Stage, silently
from cxr_edge.runtimes.accelerators import RemoteSession
from cxr_edge.runtimes.base import CPU, Runtime, Session, require_loadable
from cxr_edge.runtimes.loaded import picture_for, require_files_known
from cxr_edge.runtimes.selection import Selection
from cxr_edge.runtimes.trial import Trial
from cxr_edge.wording import counted

_QUICK_FILES = 12


@dataclass(frozen=True)
class _Measured:
    """A row, and a function that reloads its session: passes must not keep all of their artifacts loaded."""

    row: Row
    reload: Callable[[], Session]


@dataclass(frozen=True)
class _Pass:
    """The measurements with one number of threads; `clocks` are the system's counters around the latencies."""

    rows: tuple[_Measured, ...]
    clocks: tuple[Clock, Clock]
    warnings: tuple[BenchWarning, ...]


@dataclass(frozen=True)
class _Bench:
    """The context of all passes; `images` are the sessions' inputs, `image` is the file of one of them."""

    plan: Plan
    options: BenchOptions
    images: NDArray[np.uint8]
    image: Path
    meter: EnergyMeter | None
    progress: Stage


def bench(selection: Selection, options: BenchOptions, progress: Stage = silently) -> BenchRecord:
    """Measure artifacts on this machine.

    Args:
        selection: from `cxr_edge.runtimes.selection`: a bundle, or single files.
        options: what to measure.
        progress: called at the start of each lengthy part of the work.

    Raises:
        ArtifactError, DataError, MissingDependencyError, OptionError, ProviderError.
    """
    plan, like, meter = plan_bench(selection, options), selection.artifacts[0], energy_meter()
    warnings = list(plan.warnings)
    with files_to_classify(options.images) as all_files:
        files = all_files.thinned(_QUICK_FILES) if options.quick else all_files
        if len(files.paths) < len(all_files.paths):
            text = f"--quick takes {len(files.paths)} of {len(all_files.paths)} files"
            warnings.append(BenchWarning(WarningKind.SHORTENED, "--images", text))
        files, images, unread = _decoded(files, like)
        warnings += unread
        if plan.cascade is not None:
            images = images[mixed_order(len(images))]
        common = _Bench(plan, options, images, files.paths[0], meter, progress)
        passes = [_measure_pass(common, threads) for threads in plan.threads]
        measured = _ranked([each for one_pass in passes for each in one_pass.rows])
        from_files = _from_files(common, files, next(each for each in measured if each.row.winner), like)
    rows = tuple(each.row for each in measured)
    return BenchRecord(
        cxr_edge=__version__,
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        command=_command_line(),
        machine=describe_machine(),
        threads=plan.threads,
        queries=options.queries,
        seconds=options.seconds,
        quick=options.quick,
        image_size=like.image_size,
        images=Images(files.source, len(files.paths)),
        trained_on=like.metadata.training.data,
        baseline=rows[0].baseline,
        energy=meter.source if meter else None,
        # A cascade's rounds also differ by how many of their images went on to the full model, which is always a row.
        noise=judge_noise([row.spread for row in rows if row.escalated is None], *(each.clocks for each in passes)),
        rows=rows,
        from_files=from_files,
        # An accelerator refuses the same artifacts in every pass.
        warnings=tuple(dict.fromkeys([*warnings, *(warning for each in passes for warning in each.warnings)])),
    ).concluded()


def _decoded(files: ImageFiles, like: Artifact) -> tuple[ImageFiles, NDArray[np.uint8], tuple[BenchWarning, ...]]:
    """The files that can be decoded, their images as a session's input, and warnings about the other files.

    Raises:
        DataError: no file can be decoded.
    """
    images: dict[Path, NDArray[np.uint8]] = {}
    reasons: dict[Path, str] = {}
    for path in files.paths:
        try:
            images[path] = picture_for(like, open_grey(path))
        except ImageError as error:
            reasons[path] = str(error)
    if not images:
        raise unusable(list(reasons.values()), len(files.paths))
    warnings = tuple(
        # Records are shared with other people: no folder's name.
        BenchWarning(WarningKind.LEFT_OUT, path.name, reason.replace(str(path), path.name))
        for path, reason in reasons.items()
    )
    return replace(files, paths=tuple(images)), np.concatenate([*images.values()]), warnings


def _measure_pass(common: _Bench, threads: int) -> _Pass:
    targets, left_out = _targets(common, threads)
    baseline = _baseline(targets, common.options.baseline)
    before = read_clock()
    _measure_latencies(common, threads, targets)
    clocks = before, read_clock()
    targets, failed = _without_failed(targets, baseline if common.options.baseline is not None else None)
    baseline = _baseline(targets, common.options.baseline)
    throughputs, not_measured = _throughputs(common, targets)
    starts = _starts(common, targets)
    rows = [
        _row(target, baseline, throughput, None if isinstance(start, DidNotStart) else start)
        for target, throughput, start in zip(targets, throughputs, starts, strict=True)
    ]
    not_started = [
        BenchWarning(
            WarningKind.NOT_STARTED,
            target.facts.id,
            f"{target.facts.id} did not start in a separate process: {start.reason}",
        )
        for target, start in zip(targets, starts, strict=True)
        if isinstance(start, DidNotStart)
    ]
    measured = tuple(_Measured(row, _reload(target)) for row, target in zip(rows, targets, strict=True))
    return _Pass(measured, clocks, (*left_out, *failed, *not_measured, *not_started))


def _without_failed(targets: Sequence[Target], stated: Target | None) -> tuple[list[Target], list[BenchWarning]]:
    """The targets that were measured, and a warning about each whose process failed meanwhile.

    Raises:
        ProviderError: that of the stated baseline; or of the first, if all failed.
    """
    if all(target.candidate.failure is not None for target in targets):
        stated = targets[0]
    if stated is not None and stated.candidate.failure is not None:
        raise stated.candidate.failure
    warnings = [
        BenchWarning(
            WarningKind.LEFT_OUT, row, f"{row} is not in the table, it failed while it was measured: {failure}"
        )
        for row, failure in ((target.facts.id, target.candidate.failure) for target in targets)
        if failure is not None
    ]
    return [target for target in targets if target.candidate.failure is None], warnings


def _reload(target: Target) -> Callable[[], Session]:
    source, threads = target.source, target.facts.threads
    return lambda: source.load(threads)


def _targets(common: _Bench, threads: int) -> tuple[list[Target], list[BenchWarning]]:
    """The loaded targets, the Keras model first, and warnings about a bundle's artifacts that an accelerator refuses.

    Raises:
        ProviderError, ArtifactError: an accelerator refuses an individually named artifact, or all of a bundle.
    """
    plan = common.plan
    for runtime in dict.fromkeys(runtime for _, runtime in plan.pairs):
        # Importing a runtime must not count as loading the first artifact.
        runtime.prepare()
    with Trial() as trial:
        # Nor must the trial of files new to this machine.
        for artifact, runtime in plan.pairs:
            require_files_known(trial, artifact, runtime)
    targets: list[Target] = []
    left_out: list[BenchWarning] = []
    refusal: CxrEdgeError | None = None
    for artifact, runtime in plan.pairs:
        for file in artifact.members:
            require_loadable(file.path)
        try:
            source = ArtifactSource(artifact, runtime, plan.cascade_with(artifact))
            targets.append(artifact_target(source, threads, common.images))
        except (ProviderError, ArtifactError) as error:
            if runtime.provider == CPU or not plan.whole_bundle:
                raise
            refusal = error
            left_out.append(_refused(artifact, runtime, error))
    if plan.keras is not None:
        accuracies = [artifact.parity.result.reference_accuracy for artifact in plan.artifacts if artifact.parity]
        targets.insert(0, keras_target(plan.keras, threads, accuracies[0] if accuracies else None))
    if refusal is not None and not targets:
        raise refusal
    return targets, left_out


def _refused(artifact: Artifact, runtime: Runtime, error: CxrEdgeError) -> BenchWarning:
    row = f"{artifact.name}@{runtime.option}"
    # Records are shared with other people: no folder's name.
    reason = str(error).removeprefix(f"{artifact.path}: ").replace(str(artifact.path), artifact.name)
    return BenchWarning(WarningKind.LEFT_OUT, row, f"{row} is not in the table: {reason}")


def _baseline(targets: Sequence[Target], name: str | None) -> Target:
    if name is not None:
        for target in targets:
            if name in (target.facts.artifact, target.facts.id):
                return target
        raise OptionError(
            f"--baseline {name}: choose one of {', '.join(sorted(target.facts.id for target in targets))}"
        )
    floats = [target for target in targets if target.facts.quantization is Quantization.FLOAT32]
    return (floats or list(targets))[0]


def _measure_latencies(common: _Bench, threads: int, targets: Sequence[Target]) -> None:
    options, is_cascade = common.options, common.plan.cascade is not None
    for target in targets:
        target.candidate.by_mean = is_cascade
    # A cascade's latency depends on the image, so each image is queried at least once.
    queries = max(options.queries, len(common.images)) if is_cascade else options.queries
    rounds = options.rounds or rounds_of(queries)
    if is_cascade:
        rounds = rounds_of_passes(rounds, len(common.images))
    with common.progress(f"measuring, {counted(threads, 'thread')}", rounds * len(targets)) as steps:
        measure(
            [target.candidate for target in targets],
            common.images,
            queries,
            options.seconds,
            steps.advance,
            common.meter,
            rounds,
        )


def _throughputs(common: _Bench, targets: Sequence[Target]) -> tuple[list[Throughput | None], list[BenchWarning]]:
    """The throughput of each, and a warning about each accelerator that fails, as for lack of memory for a batch."""
    seconds, warnings = common.options.throughput_seconds, []
    if not seconds:
        return [None] * len(targets), []
    throughputs: list[Throughput | None] = []
    with common.progress("throughput", len(targets)) as steps:
        for target in targets:
            try:
                throughputs.append(target.source.throughput(common.images, target.facts.threads, seconds))
            except ProviderError as error:
                if not isinstance(target.candidate.session, RemoteSession):
                    raise
                throughputs.append(None)
                row = target.facts.id
                warnings.append(BenchWarning(WarningKind.NOT_MEASURED, row, f"{row} has no throughput: {error}"))
            steps.advance()
    return throughputs, warnings


def _starts(common: _Bench, targets: Sequence[Target]) -> list[StartUp | DidNotStart | None]:
    if not common.options.starts:
        return [None] * len(targets)
    starts: list[StartUp | DidNotStart | None] = []
    with common.progress("starting each in a separate process", len(targets)) as steps:
        for target in targets:
            starts.append(target.source.started(target.facts.threads, common.image, common.options.starts))
            steps.advance()
    return starts


def _row(target: Target, baseline: Target, throughput: Throughput | None, start: StartUp | None) -> Row:
    figures, base = target.candidate.figures(), baseline.candidate.figures()
    return Row(
        **vars(target.facts),
        **vars(figures),
        **vars(_against(target, baseline, figures, base)),
        winner=False,
        escalated=_share_escalated(target, figures.queries),
        nodes_on=target.nodes_on,
        throughput=throughput,
        startup=start,
    )


def _share_escalated(target: Target, queries: int) -> float | None:
    """The share of the counted queries whose image the full model of a cascade answered."""
    if target.escalated is None:
        return None
    return float(np.resize(target.escalated, queries).mean())


def _against(target: Target, baseline: Target, figures: Latency, base: Latency) -> AgainstBaseline:
    is_baseline, by_mean = target is baseline, target.candidate.by_mean
    ratio = paired_ratio(figures.rounds_ms, base.rounds_ms, by_mean)
    interval = None if is_baseline else ratio_interval(figures.rounds_ms, base.rounds_ms, paired=True, by_mean=by_mean)
    overall = figures.mean_ms / base.mean_ms if by_mean else figures.p50_ms / base.p50_ms
    speed = Speed.BASELINE if is_baseline else judge_speed(overall, interval)
    return AgainstBaseline(
        baseline=baseline.facts.id, ratio=ratio, ratio_interval=interval, speed_up=1 / ratio, speed=speed
    )


def _ranked(measured: Sequence[_Measured]) -> list[_Measured]:
    """The fastest first; the winner is the first whose artifact did not fail its gate, or the first if all failed."""
    by_mean = any(each.row.escalated is not None for each in measured)
    ranked = sorted(measured, key=lambda each: each.row.mean_ms if by_mean else each.row.p50_ms)
    good = [index for index, each in enumerate(ranked) if each.row.verdict is not Verdict.FAILED]
    first = good[0] if good else 0
    ranked[first] = replace(ranked[first], row=replace(ranked[first].row, winner=True))
    return ranked


def _from_files(common: _Bench, files: ImageFiles, winner: _Measured, like: Artifact) -> FromFiles:
    options = common.options
    with common.progress("from file to answer", (options.file_rounds + 1) * len(files.paths)) as steps:
        times = measure_files(
            files.paths,
            winner.reload(),
            like,
            options.file_rounds,
            usable_cores(),
            options.folder_seconds,
            steps.advance,
        )
    return FromFiles(**vars(times), id=winner.row.id, threads=winner.row.threads, source=files.source)


def _command_line() -> tuple[str, ...]:
    """As typed, but with only the last component of paths: records are shared with other people."""

    def shared(word: str) -> str:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        # Not by os.sep: Windows takes slashes as well.
        return f"{option}{equals}{Path(value).name if len(Path(value).parts) > 1 else value}"

    return ("cxr-edge", *map(shared, sys.argv[1:]))
