"""`cxr-edge inspect`: what an artifact claims, and what its graph shows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from cxr_edge.artifacts.artifact import read_metadata, require_artifact_file
from cxr_edge.artifacts.bundle import bundle_in, first_listed, is_listed, read_checked_artifact
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.metadata import ArtifactMetadata
from cxr_edge.artifacts.parity_result import ParityResult
from cxr_edge.errors import ArtifactError, MissingDependencyError, extra_with
from cxr_edge.evaluation.cascade_fit import CascadeFit, cascade_fit_of
from cxr_edge.evaluation.verified_artifact import recorded
from cxr_edge.files import sha256_of
from cxr_edge.inspection.computation import Computation, ComputationVerdict
from cxr_edge.inspection.delegate import DelegateReport, delegate_report
from cxr_edge.inspection.operators import computation_of
from cxr_edge.runtimes.base import every_runtime, require_loadable, runtimes_for
from cxr_edge.runtimes.trial import Trial


@dataclass(frozen=True)
class ComputationSummary:
    """A file's computation in figures.

    Attributes:
        verdict: what it computes in.
        integer_share: share of one inference's multiply-accumulates in integers.
        integer_macs: multiply-accumulates in integers.
        float_macs: multiply-accumulates in float.
        float_operators: names of the layers that multiply in float.
        integer_convolutions: number of convolutions that compute in integers.
        float_convolutions: number of the others.
        extra_bytes: extra size of the float kernels compared with int8.
        weight_bytes: of all constants, by type.
        operators: the number of each kind, the most frequent first.
    """

    verdict: ComputationVerdict
    integer_share: float
    integer_macs: int
    float_macs: int
    float_operators: tuple[str, ...]
    integer_convolutions: int
    float_convolutions: int
    extra_bytes: int
    weight_bytes: dict[str, int]
    operators: dict[str, int]

    @classmethod
    def of(cls, computation: Computation, claimed: Quantization) -> ComputationSummary:
        """The figures of a computation, judged against the quantization that the file claims."""
        return cls(
            verdict=computation.verdict(claimed),
            integer_share=computation.integer_share,
            integer_macs=computation.integer_macs,
            float_macs=computation.float_macs,
            float_operators=computation.float_operators,
            integer_convolutions=computation.convolutions(integer=True),
            float_convolutions=computation.convolutions(integer=False),
            # A float has four bytes or two in place of one.
            extra_bytes=computation.kernel_bytes.get("float32", 0) * 3 // 4
            + computation.kernel_bytes.get("float16", 0) // 2,
            weight_bytes=dict(computation.weight_bytes),
            operators=dict(computation.operators),
        )


@dataclass(frozen=True)
class Inspection:
    """What a TFLite or ONNX file is: the record that `inspect --json` writes.

    Attributes:
        file: its name.
        format: tflite or onnx.
        bytes: its size.
        sha256: of its content.
        claims: the quantization according to its metadata or, without any, its name.
        metadata: None for a file from another tool.
        computation: None if the packages to read the graph are not installed.
        delegate: the part that LiteRT's delegate takes over; None for an ONNX file.
        missing: why there is no `computation`.
        int8_on: for a file that claims int8, how each accelerator that reads it computes int8, if known, by the
            accelerator's name for --runtime.
        schema: version of this record.
    """

    file: str
    format: ArtifactFormat
    bytes: int
    sha256: str
    claims: Quantization
    metadata: ArtifactMetadata | None
    computation: ComputationSummary | None
    delegate: DelegateReport | None
    missing: str | None = None
    int8_on: dict[str, str] = field(default_factory=dict)
    schema: int = 1


@dataclass(frozen=True, kw_only=True)
class CascadeInspection:
    """What a cascade is: the record that `inspect --json` writes for its bundle.

    Attributes:
        bundle: the name of its folder.
        sha256: of both files, the threshold and the figures.
        fitted: the threshold, and what it promises.
        parity: how the whole compares with the full Keras model.
        small: the model that answers first.
        full: the one that answers where the small one is unsure.
        schema: of this record.
    """

    bundle: str
    sha256: str
    fitted: CascadeFit
    parity: ParityResult
    small: Inspection
    full: Inspection
    schema: int = 1


def inspect_cascade(bundle: Path) -> CascadeInspection:
    """Inspect the bundle of a cascade.

    Raises:
        ArtifactError: as `inspect`, or the bundle is empty or not that of a cascade.
    """
    folder = bundle_in(bundle)
    artifact = first_listed(folder)
    if not isinstance(artifact, Cascade):
        raise ArtifactError(f"{bundle}: holds several artifacts; name one of its files, such as {artifact.path}")
    small, full = (inspect(file.path) for file in artifact.members)
    fitted, parity = cascade_fit_of(artifact.entry.fitted), recorded(artifact).parity
    return CascadeInspection(
        bundle=folder.resolve().name, sha256=artifact.sha256, fitted=fitted, parity=parity, small=small, full=full
    )


def inspect(path: Path) -> Inspection:
    """Inspect a TFLite or ONNX file, of this project or not.

    Raises:
        ArtifactError: the file is missing, is neither a TFLite nor an ONNX model, differs from its entry in the
            manifest beside it, or crashes its runtime.
    """
    kind = require_artifact_file(path)
    require_loadable(path)
    metadata = _metadata_of(path)
    if metadata is None:
        # A file from another tool is judged by its name.
        claims = Quantization.INT8 if Quantization.INT8 in path.name.lower() else Quantization.FLOAT32
    else:
        claims = metadata.quantization
    computation, delegate, missing = None, None, None
    try:
        _require_survivable(path, kind)
        computation = ComputationSummary.of(computation_of(path, kind), claims)
        if kind is ArtifactFormat.TFLITE:
            delegate = delegate_report(path)
    except ModuleNotFoundError as error:
        extra = extra_with(error.name)
        if extra is None:
            raise
        computation, missing = None, str(MissingDependencyError(str(error.name), extra))
    return Inspection(
        file=path.name,
        format=kind,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        claims=claims,
        metadata=metadata,
        computation=computation,
        delegate=delegate,
        missing=missing,
        int8_on=_int8_on(kind) if claims.is_integer else {},
    )


def _int8_on(kind: ArtifactFormat) -> dict[str, str]:
    return {each.option: each.int8 for each in every_runtime() if kind in each.formats and each.int8 is not None}


def _metadata_of(path: Path) -> ArtifactMetadata | None:
    """None for a file from another tool. Raises ArtifactError for a file that differs from its manifest entry."""
    if is_listed(path):
        return read_checked_artifact(path).metadata
    try:
        return read_metadata(path)
    except ArtifactError:
        return None


def _require_survivable(path: Path, kind: ArtifactFormat) -> None:
    """Raises ArtifactError if loading a file that is new here crashes the process that tries it."""
    try:
        runtime = runtimes_for(kind)[0]
    except MissingDependencyError:
        # Without a runtime, nothing is loaded.
        return
    with Trial() as trial:
        trial.require_openable(path, runtime)
