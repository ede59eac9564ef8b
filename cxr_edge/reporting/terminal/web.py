"""What `web` prints: the content of the folder, and its size."""

from __future__ import annotations

from cxr_edge.reporting.terminal.tables import show
from cxr_edge.runtimes.selection import warnings_about_answers
from cxr_edge.web.folder import WrittenPage


def show_page(written: WrittenPage, kept: bool) -> None:
    """Print sizes, warnings about the model, and what to do next with a folder that is kept."""
    first = written.models[0]
    if kept:
        show(f"page: {written.folder}")
    show(f"uses {first.name}{_for_webgpu(written)}")
    sizes = (written.page_bytes, written.runtime_bytes, written.model_bytes)
    page, runtime, models = (f"{size / 1e6:.1f} MB" for size in sizes)
    show(f"size: page {page}, ONNX Runtime Web {runtime}, models {models}")
    for warning in warnings_about_answers(first):
        show(f"warning: {warning}")
    if kept:
        show("any static web server can serve it; over HTTPS it works offline after the first visit")


def _for_webgpu(written: WrittenPage) -> str:
    return f"; {written.models[1].name} for WebGPU" if len(written.models) > 1 else ""
