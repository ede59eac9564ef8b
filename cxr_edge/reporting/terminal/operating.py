"""Print operating points and calibration."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from cxr_edge.evaluation.calibration import CalibrationError
from cxr_edge.evaluation.operating import shown
from cxr_edge.evaluation.operating_figures import OperatingFigures
from cxr_edge.evaluation.operating_record import OperatingRecord, rounded_down, rounded_up
from cxr_edge.prediction.evaluation import EvaluatedPoint
from cxr_edge.reporting.terminal.tables import percent, show, show_table
from cxr_edge.wording import counted


def show_evaluated_point(evaluated: EvaluatedPoint) -> None:
    """Print the rule, its figures on the images of an evaluation, and its promises."""
    point, figures, record = evaluated.point, evaluated.figures, evaluated.record
    show(f"operating point: {point.sentence}")
    label = point.sensitive_class
    if figures.sensitive_images:
        promised = f"; promised: at least {rounded_down(1 - record.fitted.missed.at_most)}" if record else ""
        show(
            f"  {counted(figures.sensitive_images, f'{label} image')}: {figures.sensitive_called} called, "
            f"{figures.sensitive_referred} referred, {figures.missed} missed; called or referred "
            f"{percent(figures.sensitivity)} % (at least {rounded_down(figures.sensitivity_at_least or 0.0)}{promised})"
        )
    if figures.other_images:
        promised = f"; promised: at most {rounded_up(record.fitted.wrong_calls.at_most)}" if record else ""
        show(
            f"  {counted(figures.other_images, 'other image')}: {figures.other_right} called correctly, "
            f"{figures.other_referred} referred, {figures.wrong_calls} called wrongly, "
            f"{percent(figures.wrong_call_share)} % (at most "
            f"{rounded_up(figures.wrong_call_share_at_most or 0.0)}{promised})"
        )
    show(f"  {_referred(figures)}")
    if record and record.broken_on(figures):
        show(f"warning: more {label} images are missed than promised: these images differ from those it was fitted on")


def _referred(figures: OperatingFigures) -> str:
    right = f"{percent(figures.decided_right)} % of what is called is right"
    if not figures.referred:
        return f"nothing is referred; {right}"
    share = f"{figures.referred} of {figures.images} images are referred ({percent(figures.referred_share)} %)"
    return share if figures.decided_right is None else f"{share}; {right}"


def show_calibration(error: CalibrationError, recorded: float | None) -> None:
    """Print the calibration error of an evaluation, and the artifact's on its test split at export."""
    show(
        f"expected calibration error {percent(error.value)} % (at most {rounded_up(error.at_most)}; a perfectly "
        f"calibrated model would show up to {rounded_up(error.by_chance)} here)"
        + ("" if recorded is None else f"; on its own test split {percent(recorded)} %")
    )


def show_exported_points(records: Mapping[str, OperatingRecord]) -> None:
    """Print the operating point of each artifact by name, its figures on the validation split, and its promises."""
    if not records:
        return
    first = next(iter(records))
    point, figures = records[first].fitted.point, records[first].validation
    label = point.sensitive_class
    show_table(
        f"Operating points on {figures.sensitive_images} {label} and {figures.other_images} other validation images, %",
        [
            "artifact",
            "suspected from",
            "called from",
            f"{label} called",
            "referred",
            "missed",
            "others wrong",
            "referred",
        ],
        [
            [
                name,
                shown(record.fitted.point.suspected_from),
                shown(record.fitted.point.called_from),
                *_shares(record.validation),
            ]
            for name, record in records.items()
        ],
    )
    show(f"{first}: {point.sentence}")
    for text in _joined(records, lambda record: (record.promise,)):
        show(text)
    for text in _joined(records, lambda record: record.warnings):
        show(f"warning: {text}")


def _shares(figures: OperatingFigures) -> list[str]:
    counts = (
        (figures.sensitive_called, figures.sensitive_images),
        (figures.sensitive_referred, figures.sensitive_images),
        (figures.missed, figures.sensitive_images),
        (figures.wrong_calls, figures.other_images),
        (figures.other_referred, figures.other_images),
    )
    return [percent(count / images if images else None) for count, images in counts]


def _joined(
    records: Mapping[str, OperatingRecord], texts: Callable[[OperatingRecord], tuple[str, ...]]
) -> Iterator[str]:
    """Each text once, preceded by the names of its artifacts unless it applies to all."""
    names: dict[str, list[str]] = {}
    for name, record in records.items():
        for text in texts(record):
            names.setdefault(text, []).append(name)
    for text, artifacts in names.items():
        yield text if len(artifacts) == len(records) else f"{', '.join(artifacts)}: {text}"
