"""The picture of the pipeline from X-rays to a device, with figures from the records in `benchmarks/results`."""

from __future__ import annotations

from documentation.tables import headline_figures

_WIDTH, _HEIGHT = 720, 330
_BOX_WIDTH, _BOX_HEIGHT = 208, 128


def pipeline_picture() -> str:
    """An SVG that suits both light and dark pages."""
    figures = headline_figures()
    boxes = [
        ("X-rays", "a folder per class", f"{figures.images} images"),
        ("train", "Xception, float32", f"accuracy {figures.accuracy} %"),
        ("export", "int8 TFLite and ONNX", f"{figures.float_mb} to {figures.int8_mb} MB"),
        ("verify", "against the model", f"drop of {figures.drop} points"),
        ("bench", f"{figures.p50_ms} ms, 2 cores", f"{figures.speed} times Keras"),
        ("device", "no TensorFlow", "predict, heat map"),
    ]
    parts = [
        '<svg xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" role="img" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}">',
        "<title>From a folder of X-rays to a device</title>",
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0 0 8 4 0 8z" fill="#5c6bc0"/></marker></defs>',
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" rx="12" fill="#f5f6fb"/>',
    ]
    for index, lines in enumerate(boxes):
        left, top = 24 + 232 * (index % 3), 24 + 154 * (index // 3)
        parts.append(_box(left, top, *lines))
    arrows = [(232, 88, 254, 88), (464, 88, 486, 88), (232, 242, 254, 242), (464, 242, 486, 242)]
    parts += [_arrow(f"M{x1} {y1}L{x2} {y2}") for x1, y1, x2, y2 in arrows]
    parts.append(_arrow("M592 152V165H128V176"))
    return "\n".join([*parts, "</svg>", ""])


def _box(left: int, top: int, title: str, what: str, figure: str) -> str:
    middle = left + _BOX_WIDTH // 2
    lines = ((46, 26, "700", "#283593", title), (78, 17, "400", "#333", what), (106, 17, "700", "#333", figure))
    texts = "".join(
        f'<text x="{middle}" y="{top + down}" font-size="{size}" font-weight="{weight}" fill="{colour}" '
        f'text-anchor="middle">{text}</text>'
        for down, size, weight, colour, text in lines
    )
    return (
        f'<rect x="{left}" y="{top}" width="{_BOX_WIDTH}" height="{_BOX_HEIGHT}" rx="8" fill="#fff" '
        f'stroke="#5c6bc0" stroke-width="2"/>{texts}'
    )


def _arrow(path: str) -> str:
    return f'<path d="{path}" fill="none" stroke="#5c6bc0" stroke-width="2.5" marker-end="url(#tip)"/>'
