"""The parity tables, and the gate's last word."""

from __future__ import annotations

from typing import Any

from cxr_edge.artifacts.verdict import FAILED, UNDECIDED
from cxr_edge.errors import GateError
from cxr_edge.reporting.terminal.tables import PHANTOM_NOTE, percent, show, show_table

#: Flipped images in the table; the JSON has all.
MOST_FLIPPED = 10


def _interval(found: dict[str, Any], sign: int = 1) -> str:
    # Adding 0 makes a zero of no sign.
    low, high = sorted((sign * found["low"] + 0.0, sign * found["high"] + 0.0))
    return f"{100 * low:.1f} to {100 * high:.1f}"


def show_parity(rows: list[dict[str, Any]], phantoms: bool) -> None:
    """A row an artifact, from `cxr_edge.statistics.parity.parity`; classes and images where they differ."""
    if not rows:
        return
    reference = rows[0]["intervals"]["reference_accuracy"]
    show_table(
        f"Parity with Keras float32 on {rows[0]['images']} {rows[0]['part']} images "
        f"(Keras: accuracy {percent(reference['value'])} %, {_interval(reference)}; 95 % intervals)",
        ["artifact", "accuracy %", "", "drop", "", "same %", "McNemar p", "verdict"],
        [
            [
                row["artifact"],
                percent(row["accuracy"]),
                _interval(row["intervals"]["accuracy"]),
                f"{0 - 100 * row['intervals']['accuracy_difference']['value']:.2f}",
                _interval(row["intervals"]["accuracy_difference"], -1),
                percent(row["agreement"]),
                f"{row['mcnemar']['p_value']:.2f}",
                "too few" if row["verdict"] == UNDECIDED else row["verdict"],
            ]
            for row in rows
        ],
    )
    show_table(
        f"Probabilities, and their expected calibration error before and after temperature scaling (Keras: "
        f"{_calibration(rows[0], 'reference')} %)",
        ["artifact", "MB", "largest diff", "mean diff", "divergence, nats", "calibration error %"],
        [
            [
                row["artifact"],
                f"{row['bytes'] / 1e6:.1f}",
                *(
                    "-" if row[name] is None else f"{row[name]:.{digits}f}"
                    for name, digits in (("largest_difference", 4), ("mean_difference", 5), ("divergence", 5))
                ),
                _calibration(row, "artifact"),
            ]
            for row in rows
        ],
    )
    _show_classes(rows)
    _show_flipped(rows)
    if line := undecided_line(rows):
        show(line)
    if phantoms:
        show(PHANTOM_NOTE)


def _calibration(row: dict[str, Any], whose: str) -> str:
    found = row["calibration_error"]
    return f"{percent(found[f'{whose}_unscaled'])} to {percent(found[whose])}"


def _show_classes(rows: list[dict[str, Any]]) -> None:
    lines = []
    for row in rows:
        for found in row["classes"] if row["agreement"] < 1 else []:
            figures = []
            for name in ("sensitivity", "specificity"):
                difference = found[name]["difference"]
                figures += [percent(found[name]["artifact"]["value"])]
                figures += ["-", ""] if difference["value"] is None else [
                    f"{0 - 100 * difference['value']:.1f}", _interval(difference, -1)
                ]  # fmt: skip
            lines.append([row["artifact"].removeprefix("xception-"), found["label"], str(found["images"]), *figures])
    if lines:
        columns = ["artifact", "class", "images", "sensitivity %", "drop", "", "specificity %", "drop", ""]
        show_table("Class by class, where any image is classed otherwise", columns, lines, texts=2)


def _show_flipped(rows: list[dict[str, Any]]) -> None:
    lines = [
        [
            row["artifact"].removeprefix("xception-"),
            image["image"],
            image["label"],
            *(" ".join(f"{value:.2f}" for value in image[name]) for name in ("reference", "artifact")),
        ]
        for row in rows
        for image in row.get("flipped", [])
    ]
    if lines:
        columns = ["artifact", "image", "label", "Keras", "artifact's"]
        show_table(f"Flipped images: {len(lines)}, a line each", columns, lines[:MOST_FLIPPED], texts=3)
        if len(lines) > MOST_FLIPPED:
            show(f"and {len(lines) - MOST_FLIPPED} more: --json FILE has them all")


def undecided_line(rows: list[dict[str, Any]]) -> str | None:
    """What the images are too few to prove; None where they are enough."""
    undecided: dict[str, set[str]] = {}
    for demand in (demand for row in rows for demand in row["demands"] if demand["verdict"] == UNDECIDED):
        what, _, label = demand["name"].partition(", ")
        most = "at least" if what == "agreement" else "at most"
        undecided.setdefault(f"{what} of {most} {percent(demand['limit'])} %", set()).add(label)
    if not undecided:
        return None
    named = [what + (f" ({', '.join(sorted(labels))})" if any(labels) else "") for what, labels in undecided.items()]
    return f"too few: nothing misses its limit, but these images are too few to prove it: {'; '.join(named)}"


def gate_parity(rows: list[dict[str, Any]]) -> None:
    """Raises GateError naming every artifact that failed, and by what."""
    failed = [row for row in rows if row["verdict"] == FAILED]
    if failed:
        found = "; ".join(
            f"{row['artifact']}: "
            + (
                ", ".join(
                    f"{demand['name']} {percent(demand['value'])} % (limit {percent(demand['limit'])} %)"
                    for demand in row["demands"]
                    if demand["verdict"] == FAILED
                )
                or "probabilities that are no numbers"
            )
            for row in failed
        )
        raise GateError(f"parity failed: {found}")


def show_replay(rows: list[dict[str, Any]]) -> None:
    """A row a pair of artifact and runtime, from `cxr_edge.evaluation.replay.replay`."""
    show_table(
        f"Replay of {rows[0]['images']} reference inputs: largest difference of a probability",
        ["artifact", "runtime", "recorded on", "difference", "allowed", "same top", "verdict"],
        [
            [
                row["artifact"],
                row["runtime"],
                row["recorded_on"],
                f"{row['largest_difference']:.5f}",
                f"{row['tolerance']:g}",
                f"{row['same_top']} of {row['images']}",
                row["verdict"],
            ]
            for row in rows
        ],
        texts=3,
    )


def gate_replay(rows: list[dict[str, Any]]) -> None:
    """Raises GateError naming every pair that computes something else than was validated."""
    failed = [f"{row['artifact']} on {row['runtime']}" for row in rows if row["verdict"] == FAILED]
    if failed:
        raise GateError(f"computes something else here than what was validated: {', '.join(failed)}")
