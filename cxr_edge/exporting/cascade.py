"""`cxr-edge cascade`: artifacts of two runs as one, verified against the full run's Keras model."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import MANIFEST, REFERENCES, checked, listed_artifacts, write_cascade_manifest
from cxr_edge.artifacts.cascade import SMALL_REFERENCES, Cascade, Member, require_fit_together
from cxr_edge.artifacts.gate import Gate
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.metadata import CascadeEntry
from cxr_edge.artifacts.parity_result import PairedDifference, RecordedParity
from cxr_edge.data.split import Split, run_split
from cxr_edge.errors import ArtifactError, OptionError
from cxr_edge.evaluation.cascade_fit import Answers, CascadeDemands, CascadeFit, fit_cascade
from cxr_edge.evaluation.conditions import LABELLED_PART, VALIDATION, Condition, Scope, conditions_of
from cxr_edge.evaluation.demands import gate_of
from cxr_edge.evaluation.logits import floor_of
from cxr_edge.evaluation.operating_record import OperatingRecord, operating_record_of
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.exporting.recipe import CASCADE
from cxr_edge.exporting.verify import Probabilities, Reference, reference_of, session_of
from cxr_edge.files import new_folder, sha256_of
from cxr_edge.option import flag_of
from cxr_edge.progress import Stage, silently
from cxr_edge.records import to_json
from cxr_edge.reporting.card.card import update_card
from cxr_edge.runs import Run, run_named
from cxr_edge.statistics.against_full import accuracy_less_full
from cxr_edge.training.classifier import compiled, load_classifier


@dataclass(frozen=True)
class CascadeOptions:
    """Which artifacts of two runs, and the demanded agreement with the full one, on images as they are and under each
    shift. Raises OptionError out of range.
    """

    quantization: Quantization = Quantization.INT8
    format: ArtifactFormat = ArtifactFormat.TFLITE
    min_agreement: float = 0.995
    min_shifted_agreement: float = Gate.min_shifted_agreement

    def __post_init__(self) -> None:
        for name in ("min_agreement", "min_shifted_agreement"):
            if not 0 < (share := getattr(self, name)) <= 1:
                raise OptionError(f"{flag_of(name)} {share}: must be a share above 0 and at most 1")

    @property
    def demands(self) -> CascadeDemands:
        """What the threshold is fitted to."""
        return CascadeDemands(self.min_agreement, self.min_shifted_agreement)


@dataclass(frozen=True)
class CascadeExport:
    """The cascade written, how its threshold was fitted, and remarks on its model card, a line each.

    `accuracy_less_full` compares it with its full model on the test images.
    """

    cascade: Cascade
    fit: CascadeFit
    accuracy_less_full: PairedDifference | None
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Scored:
    """A model of the cascade, the title of its runtime, and its probabilities: under each condition of the reference,
    and of the validation images under each shift.
    """

    artifact: Artifact
    runtime: str
    answers: tuple[Probabilities, ...]
    shifted: tuple[Probabilities, ...]


def cascade_of_runs(
    small: Path, full: Path, options: CascadeOptions, output: Path | None = None, stage: Stage = silently
) -> CascadeExport:
    """Write a bundle in which the small model answers, and the full one where the small one is unsure.

    Args:
        small: an exported run, or one of its bundles.
        full: likewise; the cascade is to answer as this one does.
        options: which artifacts, and what is demanded.
        output: the new bundle; None for one in the full run.
        stage: opened as each stage begins.

    Raises:
        ArtifactError: a bundle lacks the artifact, belongs to another run or changes meanwhile, or the two do not fit
            together.
        GateError: no threshold meets the demands.
        OptionError: the new bundle exists already.
        MissingDependencyError, RunError, DataError.
    """
    runs, pair = [_run_of(path) for path in (small, full)], artifacts_of(small, full, options)
    rule, folder = _rule_of(pair[1]), output or cascade_folder(runs[1])
    if folder.exists():
        raise OptionError(f"--output {folder}: exists already; name another folder, or remove it")
    reference = _reference(runs[1], pair[1], stage)
    scored = [_scored(artifact, reference, runs[1].phantoms, stage) for artifact in pair]
    validation, test = (_answers(reference, scored, part) for part in (VALIDATION, LABELLED_PART))
    shifted = _shifted_answers(reference.split, scored, runs[1].phantoms)
    fit = fit_cascade(validation, shifted, test, pair[1].labels, rule, options.demands)
    combined = [
        Answers(first, second, reference.targets).combined(fit.threshold)
        for first, second in zip(*(model.answers for model in scored), strict=True)
    ]
    gate = gate_of(pair[1], {})
    parity = reference.compare(combined, gate, floor_of(pair[1]))
    entry = CascadeEntry(
        small=_name(Member.SMALL, pair[0]),
        full=_name(Member.FULL, pair[1]),
        threshold=fit.threshold,
        fitted=to_json(fit),
        parity=RecordedParity(scored[1].runtime, LABELLED_PART, parity),
    )
    _write(folder, entry, *pair)
    notes = update_card(folder).notes
    (cascade,) = listed_artifacts(folder)
    assert isinstance(cascade, Cascade)
    return CascadeExport(cascade, fit, accuracy_less_full(fit.test), notes)


def cascade_folder(full: Run) -> Path:
    """The bundle of a cascade in the run of its full model, unless another folder is named."""
    return full.bundle_of(CASCADE)


def artifacts_of(small: Path, full: Path, options: CascadeOptions) -> tuple[Artifact, Artifact]:
    """The two artifacts of a cascade. Raises ArtifactError, RunError as `cascade_of_runs`."""
    first, second = (_artifact_in(path, _run_of(path), options) for path in (small, full))
    require_fit_together(first, second)
    return first, second


def _run_of(path: Path) -> Run:
    run = Run(path.resolve().parent) if (path / MANIFEST).is_file() else run_named(path)
    run.require_model()
    return run


def _artifact_in(path: Path, run: Run, options: CascadeOptions) -> Artifact:
    bundle = path if (path / MANIFEST).is_file() else run.bundle
    listed = listed_artifacts(bundle)
    for artifact in listed:
        if isinstance(artifact, Cascade):
            raise ArtifactError(f"{bundle}: is itself a cascade; name a run, or a bundle with a single model")
        if (artifact.quantization, artifact.format) == (options.quantization, options.format):
            if artifact.metadata.training.model_sha256 != sha256_of(run.model_file):
                raise ArtifactError(f"{bundle}: was exported from another model than {run.model_file}; export again")
            return checked(artifact)
    raise ArtifactError(
        f"{bundle}: has {', '.join(file.name for file in listed)}, but no {options.quantization} .{options.format}; "
        f"cxr-edge export --run {run.option} --quantize {options.quantization} --format {options.format} writes it"
    )


def _rule_of(full: Artifact) -> OperatingRecord | None:
    value = full.metadata.operating_point
    record = operating_record_of(value)
    if value is not None and record is None:
        raise ArtifactError(f"{full.path}: its decision rule has no promise (an older version); export it again")
    return record


def _reference(run: Run, full: Artifact, stage: Stage) -> Reference:
    split, temperature = run_split(run), full.metadata.temperature
    return reference_of(
        compiled(load_classifier(run)), split, full.image_size, temperature, Scope.of_export(run.phantoms), stage
    )


def _scored(artifact: Artifact, reference: Reference, phantoms: bool, stage: Stage) -> _Scored:
    runtime, session = session_of(artifact)
    conditions = _shifted_validation(reference.split, artifact.image_size, phantoms)
    images = reference.images + sum(map(len, conditions))
    with stage(f"scoring {artifact.path.parent.parent.name}/{artifact.name}", images) as bar:
        answers = reference.score(session, bar.tick, [artifact.image_size])
        shifted = tuple(score_images(session, condition.pixels(), bar.tick) for condition in conditions)
    return _Scored(artifact, runtime, answers, shifted)


def _shifted_validation(split: Split, size: int, phantoms: bool) -> tuple[Condition, ...]:
    """All validation images under each shift, because more images allow a stronger promise of agreement; for phantoms,
    only as many as the gate uses.
    """
    images = Scope.of_export(phantoms).shifted[VALIDATION] if phantoms else len(split.part(VALIDATION))
    return conditions_of(split, size, Scope({}, {VALIDATION: images}))


def _shifted_answers(split: Split, scored: list[_Scored], phantoms: bool) -> dict[str, Answers]:
    """The answers by shift name; which images are selected does not depend on the size."""
    targets, answers = split.targets(VALIDATION), {}
    conditions = _shifted_validation(split, scored[1].artifact.image_size, phantoms)
    for condition, small, full in zip(conditions, scored[0].shifted, scored[1].shifted, strict=True):
        assert condition.shift is not None
        answers[condition.shift.name] = Answers(small, full, targets[condition.rows])
    return answers


def _answers(reference: Reference, scored: list[_Scored], part: str) -> Answers:
    small, full = (reference.of_part(model.answers, part) for model in scored)
    return Answers(small, full, reference.split.targets(part))


def _name(member: Member, artifact: Artifact) -> str:
    return f"{member}-{artifact.quantization}.{artifact.format}"


def _write(folder: Path, entry: CascadeEntry, small: Artifact, full: Artifact) -> None:
    """Write the bundle, complete or not at all."""
    with new_folder(folder) as temporary:
        members = []
        for artifact, name, inputs in ((small, entry.small, SMALL_REFERENCES), (full, entry.full, REFERENCES)):
            shutil.copyfile(artifact.path, temporary / name)
            shutil.copyfile(artifact.path.parent / REFERENCES, temporary / inputs)
            # Artifacts of early versions do not name their reference inputs.
            expected = {name: artifact.sha256, inputs: artifact.metadata.reference_sha256}
            if any(digest is not None and sha256_of(temporary / copy) != digest for copy, digest in expected.items()):
                raise ArtifactError(f"{artifact.path}: was exported again meanwhile; make the cascade again")
            members.append(Artifact(temporary / name, artifact.sha256, artifact.bytes, artifact.metadata))
        write_cascade_manifest(temporary, entry, *members)
