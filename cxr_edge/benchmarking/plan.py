"""What can be measured here, and what is left out of the request, with the reason."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from dataclasses import dataclass

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import MANIFEST
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.benchmarking.options import KERAS, BenchOptions
from cxr_edge.benchmarking.record import BenchWarning, WarningKind
from cxr_edge.errors import MissingDependencyError, OptionError
from cxr_edge.processors import adds_products_in_16_bits, usable_cores
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import CPU, Runtime, all_runtimes, runtime_named
from cxr_edge.runtimes.selection import Selection, best_of, warning_about

_WHAT_COUNTS = (
    "a cascade's latency depends on the images: these figures hold if as many go to the full model; measure it on your "
    "own images with --images"
)
_SATURATES = (
    "OpenVINO: this CPU has no VNNI, so the sums of an int8 file can saturate, unless its kernels are of reduced "
    "range (recipe x86-avx2); cxr-edge verify --replay --runtime openvino shows whether answers suffer"
)


@dataclass(frozen=True)
class Plan:
    """`pairs` are the rows to measure for each number of `threads`; `keras` is the run whose model is another row, or
    None. With `whole_bundle`, artifacts that an accelerator refuses are left out rather than being an error. A
    `cascade` is measured beside its full model, the baseline.
    """

    pairs: tuple[tuple[Artifact, Runtime], ...]
    keras: Run | None
    threads: tuple[int, ...]
    warnings: tuple[BenchWarning, ...]
    whole_bundle: bool
    cascade: Cascade | None = None

    def cascade_with(self, artifact: Artifact) -> Cascade | None:
        """The cascade that an artifact belongs to, on whose images it is then measured; None without one."""
        return self.cascade if self.cascade is not None and artifact in self.cascade.members else None

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return tuple({artifact.path: artifact for artifact, _ in self.pairs}.values())


def plan_bench(selection: Selection, options: BenchOptions) -> Plan:
    """Pair the artifacts with the runtimes that read them.

    Raises:
        MissingDependencyError: no runtime here reads any of them, or a named runtime is not installed.
        ProviderError: a named accelerator is not available here.
        OptionError: a named runtime is unknown, or not for a cascade; Keras was named and cannot be measured; the
            seconds are not finite.
    """
    if not math.isfinite(options.seconds):
        raise OptionError(f"--seconds {options.seconds}: must be a finite number")
    artifacts, runtimes = selection.artifacts, _runtimes(options.runtimes)
    passes = tuple(dict.fromkeys(options.threads)) or (usable_cores(),)
    warnings = [
        BenchWarning(
            WarningKind.LEFT_OUT, name, f"{name} is not in the table: {MANIFEST} lists it, but its file is missing"
        )
        for name in selection.absent
    ]
    if options.quick and selection.folder is not None:
        artifacts = _quick_artifacts(artifacts, runtimes)
    cascade = next((artifact for artifact in artifacts if isinstance(artifact, Cascade)), None)
    if cascade is not None:
        if refused := [runtime.option for runtime in runtimes if runtime.provider != CPU]:
            raise OptionError(f"--runtime {refused[0]}: a cascade runs on the CPU; name a file of a run's own bundle")
        artifacts = (cascade.full, cascade)
        warnings.append(BenchWarning(WarningKind.OTHER, cascade.name, _WHAT_COUNTS))
    run = None
    if options.runtimes is None or _names_keras(options.runtimes):
        run, reason = _keras_run(selection, passes, options)
        if reason:
            warnings.append(BenchWarning(WarningKind.LEFT_OUT, KERAS, f"Keras is not in the table: {reason}"))
    pairs = [
        (artifact, runtime) for artifact in artifacts for runtime in runtimes if artifact.format in runtime.formats
    ]
    if not pairs and run is None:
        raise MissingDependencyError(f"a runtime for {artifacts[0].name}", _extras(artifacts[0]))
    read = {artifact.path for artifact, _ in pairs}
    warnings += [
        BenchWarning(
            WarningKind.LEFT_OUT,
            artifact.name,
            f"{artifact.name} is not in the table: none of its runtimes ({_extras(artifact)}) is selected or installed",
        )
        for artifact in artifacts
        if artifact.path not in read
    ]
    doubts = [warning for artifact in artifacts if (warning := warning_about(artifact))]
    warnings += [BenchWarning(WarningKind.DOUBTFUL, doubt.artifact, str(doubt)) for doubt in doubts]
    in_integers = {runtime.option for artifact, runtime in pairs if artifact.quantization.is_integer}
    if "openvino" in in_integers and adds_products_in_16_bits():
        warnings.append(BenchWarning(WarningKind.DOUBTFUL, "openvino", _SATURATES))
    return Plan(tuple(pairs), run, passes, tuple(warnings), selection.folder is not None, cascade)


def _names_keras(names: Sequence[str]) -> bool:
    return any(name.lower() == KERAS for name in names)


def _runtimes(names: tuple[str, ...] | None) -> list[Runtime]:
    if names is None:
        return [runtime for runtime in all_runtimes() if runtime.installed()]
    runtimes = [runtime_named(name) for name in dict.fromkeys(names) if name.lower() != KERAS]
    for runtime in runtimes:
        runtime.require()
    return runtimes


def _extras(artifact: Artifact) -> str:
    return " or ".join(runtime.extra for runtime in all_runtimes() if artifact.format in runtime.formats)


def _quick_artifacts(artifacts: tuple[Artifact, ...], runtimes: Sequence[Runtime]) -> tuple[Artifact, ...]:
    read = [each for each in artifacts if any(each.format in runtime.formats for runtime in runtimes)]
    quantizations = {best_of(read or artifacts)[0].quantization, Quantization.FLOAT32}
    return tuple(artifact for artifact in artifacts if artifact.quantization in quantizations)


def _keras_run(selection: Selection, threads: Sequence[int], options: BenchOptions) -> tuple[Run | None, str | None]:
    """The run that the bundle belongs to, if its Keras model can run here; otherwise the reason why not."""
    demanded = options.runtimes is not None
    run = None if selection.folder is None else Run(selection.folder.resolve().parent)
    reason = None
    if options.quick and not demanded:
        reason = "--quick leaves it out"
    elif any(isinstance(artifact, Cascade) for artifact in selection.artifacts):
        reason = "a cascade is measured against its full model"
    elif run is None:
        reason = "artifacts were named one by one"
    elif not run.model_file.is_file():
        reason = "this bundle lies outside its run folder"
    elif importlib.util.find_spec("tensorflow") is None:
        if demanded:
            raise MissingDependencyError("TensorFlow", "train")
        reason = "TensorFlow is not installed here"
    elif len(threads) > 1:
        reason = "TensorFlow cannot change its number of threads in a process"
    if reason is None:
        return run, None
    if demanded:
        raise OptionError(f"{selection.folder or 'bench'}: keras cannot be measured, {reason}")
    return None, reason
