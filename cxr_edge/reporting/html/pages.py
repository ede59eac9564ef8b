"""What the HTML pages share: templates with escaping, and images embedded in the page."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import jinja2
from PIL import Image

from cxr_edge.imaging.decode import load_image

_THUMBNAIL = 144


def page(template: str, content: dict[str, object], **filters: Callable[..., str]) -> str:
    """Render a template of this package."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cxr_edge.reporting.html"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(filters)
    return environment.get_template(template).render(content)


def thumbnail(path: Path) -> str:
    """An image file as a small PNG in a data URL. Raises ImageError."""
    content = io.BytesIO()
    Image.fromarray(load_image(path, _THUMBNAIL)).save(content, "PNG")
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
