"""What `export --explain-int8` prints."""

from __future__ import annotations

from cxr_edge.evaluation.int8_noise import Explanation
from cxr_edge.reporting.terminal.tables import percent, show, show_table

#: Number of tensors in the table; the JSON has all.
WORST = 15


def show_explanation(explanation: Explanation) -> None:
    """Print the total and the groups, then the tensors with the most noise."""
    tensors = [row for row in explanation.rows if row.layer is not None]
    others = [row for row in explanation.rows if row.layer is None]
    show_table(
        f"One at a time in int8, the rest in float: {explanation.images} {explanation.source}",
        ["", "in int8", "SNR dB", "agreement %", *(f"bias, {label}" for label in explanation.labels), "clipped %"],
        [
            [
                row.source,
                row.name,
                "-" if row.snr_db is None else f"{row.snr_db:.1f}",
                percent(row.agreement),
                *(f"{value:+.3f}" for value in row.bias),
                percent(row.clipped, 0),
            ]
            for row in [*others, *tensors[:WORST]]
        ],
        texts=2,
    )
    show(
        f"{min(WORST, len(tensors))} of {len(tensors)} tensors, those with the most noise first; as calibrated, not "
        "fine-tuned. Bias: mean error of a logit. Clipped: the share of the tensor's error that its range "
        "cuts off; the rest is rounding."
    )
    show(f"to keep one in float: cxr-edge export --quantize int8 --keep-float {tensors[0].layer}")
