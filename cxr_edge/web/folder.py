"""The folder of `cxr-edge web`: the page, a model or two with their manifest, and phantoms to try it with."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from cxr_edge import __version__
from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.cascade import Cascade
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.part import write_part
from cxr_edge.errors import ArtifactError
from cxr_edge.files import new_folder, write_json
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.records import to_json
from cxr_edge.runtimes.base import require_loadable
from cxr_edge.runtimes.selection import Selection, best_of, warnings_about_answers
from cxr_edge.web.page import BuiltPage, PageFile

SCHEMA = 1
PAGE, MODEL, EXAMPLES = "page.json", "model", "examples"
#: Side in pixels of the phantoms, and their patient's seed, which no reference input uses.
_SIDE, _SEED = 512, 9100
#: The files of ONNX Runtime Web that only WebGPU needs: two thirds of it.
_WEBGPU = {
    f"ort/{name}"
    for name in ("ort.webgpu.min.mjs", "ort-wasm-simd-threaded.asyncify.mjs", "ort-wasm-simd-threaded.asyncify.wasm")
}


@dataclass(frozen=True)
class PageModel:
    """What the page needs to know about an artifact beyond its manifest: whether it computes in integers, how far
    another runtime may deviate, and warnings about its answers, one line each.
    """

    file: str
    is_integer: bool
    tolerance: float
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class PageRecord:
    """The content of `page.json`. `version` names the content of the folder, for the browser's cache; the first of
    `models` is what the page answers with; `examples` are file names."""

    schema: int = SCHEMA
    cxr_edge: str
    version: str
    models: tuple[PageModel, ...]
    examples: tuple[str, ...]


@dataclass(frozen=True)
class WrittenPage:
    """What was written: its models, and the sizes in bytes of the page itself, ONNX Runtime Web and the models."""

    folder: Path
    models: tuple[Artifact, ...]
    page_bytes: int
    runtime_bytes: int
    model_bytes: int


def models_for_browsers(selection: Selection) -> tuple[Artifact, ...]:
    """The best ONNX file of a bundle and, if that is int8, the best float one, for WebGPU: float32 before fp16, which
    not every GPU supports.

    Raises:
        ArtifactError: the bundle is a cascade, or has no ONNX file that a browser can run.
    """
    if any(isinstance(artifact, Cascade) for artifact in selection.artifacts):
        raise ArtifactError(
            f"{selection.folder}: a cascade, but a page runs one model only; name the bundle of one of its runs"
        )
    readable = [
        artifact
        for artifact in selection.artifacts
        if artifact.format is ArtifactFormat.ONNX and artifact.metadata.contract.probabilities.type == "float32"
    ]
    if not readable:
        raise ArtifactError(
            f"{selection.folder}: no ONNX file in it, which browsers need; cxr-edge export --recipe browser writes one"
        )
    best = best_of(readable)[0]
    # WebGPU has no kernels for integers: ONNX Runtime would hand every node of an int8 file to the CPU.
    floating = sorted(
        (artifact for artifact in readable if not artifact.quantization.is_integer),
        key=lambda artifact: artifact.quantization.is_half,
    )
    return (best, floating[0]) if best.quantization.is_integer and floating else (best,)


def write_page(
    page: BuiltPage, models: tuple[Artifact, ...], target: Path, warnings: tuple[str, ...] = ()
) -> WrittenPage:
    """Write the folder that any static server can serve; what only WebGPU needs is left out if no model is float.

    Args:
        page: from `built_page`.
        models: of one bundle; the first is what the page answers with.
        target: a new folder, or an empty one.
        warnings: to show with every answer, before those about the models; one line each.

    Raises:
        ArtifactError: an artifact is damaged, or not released by its owner.
        OptionError: the folder already exists.
    """
    for model in models:
        require_loadable(model.path)
    for_webgpu = not all(model.quantization.is_integer for model in models)
    files = tuple(file for file in page.files if for_webgpu or file.file not in _WEBGPU)
    with new_folder(target) as folder:
        for file in files:
            (folder / file.file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(page.folder / file.file, folder / file.file)
        write_part(models, folder / MODEL)
        write_json(folder / PAGE, to_json(_record(files, models, warnings, _draw_examples(folder / EXAMPLES))))
    runtime = sum(file.bytes for file in files if _is_runtime(file))
    return WrittenPage(
        folder=target,
        models=models,
        page_bytes=sum(file.bytes for file in files) - runtime,
        runtime_bytes=runtime,
        model_bytes=sum(model.bytes for model in models),
    )


def _is_runtime(file: PageFile) -> bool:
    return file.file.startswith("ort/")


def _draw_examples(folder: Path) -> tuple[str, ...]:
    folder.mkdir()
    names = []
    for label in LABELS:
        name = f"phantom-{label.lower().replace(' ', '-')}.png"
        Image.fromarray(draw_phantom(label, _SEED, _SIDE).pixels).save(folder / name)
        names.append(name)
    return tuple(names)


def _record(
    files: tuple[PageFile, ...], models: tuple[Artifact, ...], warnings: tuple[str, ...], examples: tuple[str, ...]
) -> PageRecord:
    hashes = (*(file.sha256 for file in files), *(model.sha256 for model in models))
    return PageRecord(
        cxr_edge=__version__,
        version=hashlib.sha256(" ".join([__version__, *hashes, *warnings]).encode()).hexdigest()[:16],
        models=tuple(
            PageModel(
                file=model.name,
                is_integer=model.quantization.is_integer,
                tolerance=model.quantization.tolerance,
                warnings=(*warnings, *map(str, warnings_about_answers(model))),
            )
            for model in models
        ),
        examples=examples,
    )
