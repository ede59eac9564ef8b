"""What `inspect` prints."""

from __future__ import annotations

from cxr_edge.artifacts.contract import TensorSpec
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.metadata import ArtifactMetadata
from cxr_edge.evaluation.operating import operating_point_of
from cxr_edge.evaluation.operating_record import operating_record_of
from cxr_edge.inspection.computation import ComputationVerdict
from cxr_edge.inspection.delegate import DelegateReport
from cxr_edge.inspection.inspect import CascadeInspection, ComputationSummary, Inspection
from cxr_edge.reporting.terminal.cascade import fit_lines
from cxr_edge.reporting.terminal.fine_tuning import fine_tuning_sentence
from cxr_edge.reporting.terminal.tables import percent, show, show_table
from cxr_edge.wording import counted

#: Number of float layers' names that fit in a line.
NAMES_SHOWN = 5


def show_cascade(inspection: CascadeInspection) -> None:
    """A cascade: what it is as a whole, and both of its files."""
    parity, figures = inspection.parity, inspection.fitted.test
    rows = [
        ["SHA-256", inspection.sha256],
        *(["rule" if number == 0 else "", line] for number, line in enumerate(fit_lines(inspection.fitted))),
        [
            "on test images",
            f"{percent(figures.escalated / figures.images)} % of {figures.images} go to the full model, "
            f"{percent(1 - figures.differing / figures.images)} % get its class",
        ],
        [
            "parity",
            f"{parity.verdict}: agreement {percent(parity.agreement)} %, accuracy {percent(parity.accuracy)} % (Keras "
            f"{percent(parity.reference_accuracy)} %)",
        ],
    ]
    show_table(f"{inspection.bundle}, a cascade", ["", "what it is"], rows, texts=2)
    for file in (inspection.small, inspection.full):
        show_inspection(file)


def show_inspection(inspection: Inspection) -> None:
    """A file's inspection, as two columns."""
    rows = [
        ["format", inspection.format],
        ["size", f"{inspection.bytes / 1e6:.2f} MB"],
        ["SHA-256", inspection.sha256],
        *_metadata_rows(inspection.metadata),
    ]
    if inspection.computation is None:
        rows.append(["computation", f"not inspected: {inspection.missing}"])
    else:
        rows += _computation_rows(inspection.computation, inspection.format)
        if inspection.delegate is not None:
            rows.append(["delegate", _delegate_line(inspection.delegate)])
        rows += _verdict_rows(inspection.computation)
    rows += [[f"int8 on {option}", what] for option, what in inspection.int8_on.items()]
    show_table(inspection.file, ["property", "value"], rows, texts=2)
    if inspection.metadata is not None:
        show(inspection.metadata.notice)


def _metadata_rows(metadata: ArtifactMetadata | None) -> list[list[str]]:
    if metadata is None:
        return [["metadata", "none from cxr-edge: written by another tool"]]
    rows = [
        ["quantization", metadata.quantization],
        ["labels", ", ".join(metadata.labels)],
        ["input", _tensor_line(metadata.contract.image)],
        ["output", _tensor_line(metadata.contract.probabilities)],
        *([["output", _tensor_line(metadata.contract.heatmap)]] if metadata.contract.heatmap else []),
        ["trained on", f"{metadata.training.data}, {sum(metadata.training.images.values())}"],
        *_teacher_rows(metadata),
        ["exported by", f"cxr-edge {metadata.cxr_edge}"],
    ]
    if calibration := metadata.calibration:
        kept = f", {' '.join(calibration['keep_float'])} kept in float" if "keep_float" in calibration else ""
        rows.append(["calibration", f"{calibration['method']}, {calibration['images']} images{kept}"])
    if sentence := fine_tuning_sentence(metadata):
        rows.append(["fine-tuning", sentence])
    if metadata.parity:
        parity = metadata.parity.result
        rows.append(
            [
                "parity",
                f"{parity.verdict}: agreement {percent(parity.agreement)} %, accuracy "
                f"{percent(parity.accuracy)} % (Keras {percent(parity.reference_accuracy)} %) on "
                f"{counted(parity.images, 'image')}",
            ]
        )
    return [*rows, *_decision_rows(metadata)]


def _teacher_rows(metadata: ArtifactMetadata) -> list[list[str]]:
    teacher = metadata.training.teacher_sha256
    return [] if teacher is None else [["student of", f"the Keras model with the SHA-256 {teacher}"]]


def _decision_rows(metadata: ArtifactMetadata) -> list[list[str]]:
    """The decision rule, its promises, and their weaknesses."""
    point, record = operating_point_of(metadata.operating_point), operating_record_of(metadata.operating_point)
    rows = [["decision rule", point.sentence]] if point else []
    if record:
        rows += [["", record.promise], *(["", f"warning: {warning}"] for warning in record.warnings)]
    return rows


def _tensor_line(tensor: TensorSpec) -> str:
    return f"{tensor.name} {tensor.type} [{', '.join(str(size) for size in tensor.shape)}]"


def _computation_rows(computation: ComputationSummary, kind: ArtifactFormat) -> list[list[str]]:
    total = computation.integer_macs + computation.float_macs
    after = " after ONNX Runtime's optimization" if kind is ArtifactFormat.ONNX else ""
    return [
        ["multiply-adds", f"{total / 1e6:.1f} million, {percent(computation.integer_share, 2)} % integer"],
        ["weights", ", ".join(f"{dtype} {size / 1e6:.2f} MB" for dtype, size in computation.weight_bytes.items())],
        ["operators", ", ".join(f"{kind} {count}" for kind, count in computation.operators.items())],
        [
            "convolutions",
            f"{computation.integer_convolutions} integer, {computation.float_convolutions} float{after}",
        ],
    ]


def _delegate_line(delegate: DelegateReport) -> str:
    left = f"; left to LiteRT: {', '.join(delegate.left)}" if delegate.left else ""
    return (
        f"{delegate.delegate} takes {delegate.taken} of {delegate.operators} operators, in "
        f"{counted(delegate.pieces, 'piece')}{left}"
    )


def _verdict_rows(computation: ComputationSummary) -> list[list[str]]:
    rows = []
    names = computation.float_operators
    if computation.verdict is not ComputationVerdict.FLOAT and names:
        more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
        total = computation.integer_macs + computation.float_macs
        price = f"{percent(computation.float_macs / total, 2)} % of the multiply-adds"
        rows = [
            ["in float", ", ".join(names[:NAMES_SHOWN]) + more],
            ["cost of float", f"{price}, {computation.extra_bytes / 1e6:.2f} MB more than in int8"],
        ]
    return [*rows, ["verdict", computation.verdict]]
