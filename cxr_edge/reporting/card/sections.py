"""The sections of a model card in words: use, data, limits, decision rule, shortcuts, how to run it."""

from __future__ import annotations

from cxr_edge.artifacts.bundle import REFERENCES
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.auditing.record import Severity
from cxr_edge.evaluation.cascade_fit import cascade_fit_of
from cxr_edge.evaluation.operating import OperatingPoint, operating_point_of
from cxr_edge.evaluation.operating_record import OperatingRecord, operating_record_of
from cxr_edge.reporting.card.evidence import Evidence
from cxr_edge.reporting.card.markdown import bullets, escaped, section, table
from cxr_edge.reporting.terminal.fine_tuning import fine_tuning_lines
from cxr_edge.reporting.terminal.metrics import with_bounds
from cxr_edge.runs.limits import limits
from cxr_edge.wording import counted


def intended_use(evidence: Evidence) -> str:
    """What it is made for, and what it must not be used for."""
    sizes = (f"{file.image_size} x {file.image_size}" for file in evidence.artifacts[0].members)
    return section(
        "Intended use",
        f"Research and engineering: classification of frontal chest X-rays, read as {' or '.join(sizes)} grey values, "
        "on a small device. The artifacts give a probability per class, and those with a heat map the evidence for "
        "each class at each place.",
        "Out of scope: diagnosis, triage and any other clinical use; lateral views, other body parts, CT and MR; "
        "classes other than those named above.",
    )


def training_data(evidence: Evidence) -> str:
    """Images per class and part, and what identifies the data."""
    training, run = evidence.training, evidence.run
    parts = () if run is None else run.parts
    rows = [
        [escaped(label), str(images), *(str(run.parts[part].get(label, 0)) for part in parts if run is not None)]
        for label, images in training.images.items()
    ]
    kind = "phantoms, which are drawn by rules" if training.phantoms else "images"
    lines = [f"The classes of these {kind}:", table(["class", "images", *parts], rows)]
    if run is None:
        lines.append("How the images were split is not recorded in this bundle.")
    elif run.cross_validation is not None:
        lines.append(f"This is one of {len(run.cross_validation.fold_accuracy)} models of a cross-validation.")
    lines.append(
        f"Started {escaped(training.started)}. SHA-256 of the split and its images: `{training.data_sha256}`; of the "
        f"Keras model: `{training.model_sha256}`."
    )
    if training.teacher_sha256 is not None:
        lines.append(
            "It is a student: a smaller network, trained on the same split to answer as a larger one does, the Keras "
            f"model with the SHA-256 `{training.teacher_sha256}`."
        )
    return section("Training data", *lines)


def known_limits(evidence: Evidence) -> str:
    """What the data leaves unknown."""
    lines = ["It knows no class but those named above: an image of anything else gets one of them, or is referred."]
    if evidence.run is not None:
        lines += map(escaped, limits(evidence.run.config))
        lines += (
            escaped(f"{counted(count, 'DICOM image')} of the data: {warning}.")
            for warning, count in evidence.run.config.dicom_warnings.items()
        )
    elif evidence.training.phantoms:
        lines.append("Phantoms are drawn by rules: results on them say nothing about patients.")
    else:
        lines.append("What the data leaves unknown (patients, sources) is not recorded in this bundle.")
    lines += map(escaped, fine_tuning_lines(evidence.artifacts))
    return section("Limits", bullets(lines))


def decision_rule(evidence: Evidence) -> str:
    """The rule of each artifact in words, its thresholds, its promises, and how to implement it."""
    rules: dict[str, list[str]] = {}
    rows = []
    for artifact in evidence.artifacts:
        value = artifact.metadata.operating_point
        if (point := operating_point_of(value)) is not None:
            words = "\n\n".join(_words(point, operating_record_of(value)))
            rules.setdefault(words, []).append(escaped(artifact.name))
            thresholds = (f"{threshold:.6g}" for threshold in (point.suspected_from, point.called_from))
            rows.append([escaped(artifact.name), escaped(point.sensitive_class), *thresholds])
    if not rows:
        return section("Decision rule", "None: the artifacts name the most probable class, and refer no image.")
    return section(
        "Decision rule",
        "An image gets one of the classes, or is referred to a radiologist.",
        *(f"{', '.join(names)}: {words}" for words, names in rules.items()),
        table(["artifact", "sensitive class", "suspected from", "called from"], rows),
        "Where the sensitive class has a probability of `suspected_from` or more, it is the candidate; otherwise the "
        "most probable other class is. The candidate is called if its own probability is `called_from` or more; "
        "otherwise the image is referred. The exact thresholds are under `operating_point` in `manifest.json` and "
        "inside each file.",
    )


def _words(point: OperatingPoint, record: OperatingRecord | None) -> list[str]:
    if record is None:
        return [f"{escaped(point.sentence)}. What it promises is not recorded."]
    return [
        f"{escaped(point.sentence)}. It is {escaped(record.promise)}.",
        *(f"**Warning**: {escaped(warning)}." for warning in record.warnings),
    ]


def cascade(evidence: Evidence) -> str:
    """Which model of a cascade answers when, and what that promises; nothing for other bundles."""
    (artifact, *_) = evidence.artifacts
    if not isinstance(artifact, Cascade):
        return ""
    fit = cascade_fit_of(artifact.entry.fitted)
    rows = [
        [
            part,
            str(figures.images),
            *(
                f"{100 * count / figures.images:.1f} %"
                for count in (figures.escalated, figures.images - figures.differing, figures.right)
            ),
        ]
        for part, figures in (
            ("validation", fit.validation),
            *((f"validation, {shifted.shift}", shifted.figures) for shifted in fit.shifts),
            ("test", fit.test),
        )
    ]
    small, full = (artifact.small.metadata.training, artifact.full.metadata.training)
    return section(
        "Two models as one",
        f"`{artifact.small.name}` reads every image; where its top probability is below {artifact.threshold:.6g}, "
        f"`{artifact.full.name}` answers in its place. The bundle is one artifact: parity and decision rule hold for "
        "the answers of both together, and the decision rule is the full model's.",
        f"SHA-256 of the Keras model of the small one: `{small.model_sha256}`; of the full one: `{full.model_sha256}`.",
        table(["part", "images", "to the full model", "the full model's class", "right"], rows),
        f"It is {escaped(fit.promise)}.",
        *(f"**Warning**: {escaped(warning)}." for warning in fit.warnings),
    )


def shortcuts(evidence: Evidence) -> str:
    """What gives the class away outside the lungs, and what else an audit of the training data found."""
    audit = None if evidence.run is None else evidence.run.audit
    if audit is None:
        return section(
            "Shortcuts in the training data",
            "Not recorded: the data was not audited, or its record (`cxr-edge audit --json`) is not in the run.",
        )
    rows = [
        [
            escaped(test.test),
            escaped(test.sees),
            "-" if test.balanced_accuracy is None else with_bounds(test.balanced_accuracy),
            "-" if test.chance is None else f"{100 * test.chance:.1f} %",
            str(test.verdict),
        ]
        for test in audit.shortcuts
    ]
    findings = [
        f"**{finding.severity}**: {escaped(finding.text)}"
        for finding in audit.findings
        if finding.severity is not Severity.NOTE
    ]
    return section(
        "Shortcuts in the training data",
        f"An audit of {counted(audit.images, 'image')} asked how well small models guess the class without seeing the "
        "lungs (balanced accuracy, with 95 % intervals):",
        table(["test", "sees", "guesses right", "chance", "shortcut"], rows),
        "Its findings:" if findings else "It found nothing serious.",
        bullets(findings),
    )


def how_to_run(evidence: Evidence) -> str:
    """Commands, and what the files are."""
    rows = [
        [f"`{artifact.name}`", str(artifact.quantization), f"{artifact.bytes / 1e6:.2f} MB"]
        for listed in evidence.artifacts
        for artifact in listed.members
    ]
    replayed = any(artifact.reference is not None for artifact in evidence.artifacts)
    return section(
        "How to run it",
        table(["file", "computes in", "size"], rows),
        "```bash\n"
        "cxr-edge verify --bundle .               # does this machine compute what was validated?\n"
        "cxr-edge predict IMAGE.png --bundle .\n"
        "```",
        f"`{REFERENCES}` holds images whose outputs are recorded in each file." if replayed else "",
        f"Made by cxr-edge {escaped(evidence.shared.cxr_edge)} from the figures in this bundle and its run.",
    )
