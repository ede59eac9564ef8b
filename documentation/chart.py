"""Latency against accuracy, from the record of a benchmark, as a picture."""

from __future__ import annotations

import math

from cxr_edge.benchmarking.record import Row, read_record
from documentation.tables import SMALL

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 720, 360, 64, 24, 24, 56
_COLOURS = {"LiteRT": "#3949ab", "ONNX Runtime": "#00897b", "OpenVINO": "#ef6c00", "Keras": "#616161"}
_TICKS = (5, 10, 20, 40)


def latency_against_accuracy() -> str:
    """An SVG: p50 in ms, on a logarithmic scale, and accuracy on the test split in percent, a dot per row."""
    rows = [row for row in read_record(SMALL / "bench.json").rows if row.accuracy is not None]
    accuracies = [100 * (row.accuracy or 0.0) for row in rows]
    low, high = math.floor(min(accuracies)) + 0.25, math.ceil(max(accuracies)) + 0.25
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" role="img" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        "<title>Latency against accuracy, 128 px, two threads</title>",
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="12" fill="#f5f6fb"/>',
    ]
    for tick in _TICKS:
        x = _x(tick)
        parts.append(f'<path d="M{x:.1f} {_TOP}V{_HEIGHT - _BOTTOM}" stroke="#d5d8ea"/>')
        parts.append(_text(x, _HEIGHT - _BOTTOM + 20, f"{tick} ms"))
    for tenth in range(math.ceil(2 * low), math.floor(2 * high) + 1):
        y = _y(tenth / 2, low, high)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#d5d8ea"/>')
        parts.append(_text(_LEFT - 28, y + 5, f"{tenth / 2:.1f} %"))
    for row, accuracy in zip(rows, accuracies, strict=True):
        parts.append(_dot(row, _x(row.p50_ms), _y(accuracy, low, high)))
    for index, (name, colour) in enumerate(_COLOURS.items()):
        x = _LEFT + 20 + 160 * index
        parts.append(f'<circle cx="{x}" cy="{_HEIGHT - 16}" r="6" fill="{colour}"/>')
        parts.append(_text(x + 14, _HEIGHT - 11, name, "start"))
    return "\n".join([*parts, "</svg>", ""])


def _x(milliseconds: float) -> float:
    share = math.log(milliseconds / _TICKS[0]) / math.log(_TICKS[-1] / _TICKS[0])
    return _LEFT + 16 + share * (_WIDTH - _LEFT - _RIGHT - 48)


def _y(accuracy: float, low: float, high: float) -> float:
    return _HEIGHT - _BOTTOM - (accuracy - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)


def _dot(row: Row, x: float, y: float) -> str:
    # Integers filled, floats hollow.
    colour = _COLOURS[row.runtime]
    fill = colour if row.quantization.is_integer else "#fff"
    title = f"{row.artifact} on {row.runtime}: {row.p50_ms:.2f} ms"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="7" fill="{fill}" stroke="{colour}" stroke-width="2.5">'
        f"<title>{title}</title></circle>"
    )


def _text(x: float, y: float, text: str, anchor: str = "middle") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="15" fill="#333" text-anchor="{anchor}">{text}</text>'
