"""What accuracy control left in float, what int8 lost before and after, and what each layer cost in latency."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.evaluation.accuracy_control import AccuracyControl, LatencyCost, Loss, Losses
from cxr_edge.records import from_json
from cxr_edge.reporting.terminal.parity import figure
from cxr_edge.reporting.terminal.tables import show, show_table
from cxr_edge.wording import counted


def show_accuracy_control(artifacts: Iterable[Artifact]) -> None:
    """Print what was demanded and what is lost; nothing for artifacts without a demand."""
    controls = [
        (artifact, from_json(AccuracyControl, control))
        for artifact in artifacts
        if (control := (artifact.metadata.calibration or {}).get("accuracy_control"))
    ]
    if not controls:
        return
    rows: list[list[str]] = []
    for artifact, control in controls:
        before = ["no layer in float, simulated", *_cells(control.before)]
        rows += [before] if control.layers and before not in rows else []
        rows.append([artifact.name, *_cells(control.after)])
    first = controls[0][1]
    show_table(
        f"Accuracy control: {first.demand}, on {first.after.plain.images} validation images as they are "
        f"(95 % interval) and {first.after.shifted.images} shifted ones; in points",
        ["", "drop", "", "other class", "drop,\nshifted", "other class,\nshifted"],
        rows,
    )
    for control in {artifact.quantization: control for artifact, control in controls}.values():
        show(_layers_line(control))


def _cells(losses: Losses) -> list[str]:
    plain, shifted = losses.plain, losses.shifted
    return [*_drop(plain), figure(plain.disagreement, 2), _drop(shifted)[0], figure(shifted.disagreement, 2)]


def _drop(loss: Loss) -> list[str]:
    value, low, high = loss.drop.value, loss.drop.low, loss.drop.high
    # Adding 0 removes the sign of a negative zero.
    interval = "" if low is None or high is None else f"{low + 0.0:.1f} to {high + 0.0:.1f}"
    return [figure(None if value is None else value + 0.0, 2), interval]


def _layers_line(control: AccuracyControl) -> str:
    if not control.layers:
        return "int8 meets the demand: no layer is left in float"
    return (
        f"{counted(len(control.layers), 'layer')} left in float, for {len(control.releases)} of {control.ranked} "
        f"tensors: {', '.join(control.layers)}"
    )


def show_latency_costs(quantization: str, costs: Sequence[LatencyCost]) -> None:
    """Print a row per measured file, with the layers that it has in float in addition to the previous one's."""
    show_table(
        f"Latency of layers in float: one image, TFLite on this machine, interleaved ({quantization}; 95 % interval)",
        ["layers in float", "MB", "p50 ms", "ratio to int8", "", "added"],
        [
            [
                "none" if index == 0 else f"+ {', '.join(cost.layers)}",
                f"{cost.bytes / 1e6:.1f}",
                f"{cost.p50_ms:.2f}",
                figure(cost.ratio.value, 3),
                "" if cost.ratio.low is None else f"{cost.ratio.low:.3f} to {cost.ratio.high:.3f}",
                "" if index == 0 else f"{cost.p50_ms - costs[index - 1].p50_ms:+.2f} ms",
            ]
            for index, cost in enumerate(costs)
        ],
    )
