"""Embed metadata in an artifact's file."""

from __future__ import annotations

import io
import json
import zipfile

import onnx

from cxr_edge import __version__
from cxr_edge.artifacts.artifact import METADATA_ENTRY, METADATA_KEY
from cxr_edge.artifacts.contract import contract
from cxr_edge.artifacts.kinds import ArtifactFormat
from cxr_edge.artifacts.metadata import ArtifactMetadata, SharedMetadata, Training
from cxr_edge.data.split import Split
from cxr_edge.exporting.recipe import Recipe
from cxr_edge.imaging.rule import rule_of
from cxr_edge.records import to_json
from cxr_edge.runs import Run


def shared_metadata(
    run: Run, split: Split, recipe: Recipe, temperature: float, model_sha256: str, reference_sha256: str
) -> SharedMetadata:
    """The metadata shared by all artifacts of an export. No date: equal exports are equal bytes."""
    config = run.config()
    size = config.options.image_size
    return SharedMetadata(
        cxr_edge=__version__,
        labels=tuple(split.labels),
        contract=contract(size, len(split.labels), recipe.output_type, recipe.batch.size, recipe.heatmap),
        imaging=rule_of(split.resize),
        temperature=temperature,
        training=Training(
            run.training_data,
            config.images,
            config.data_sha256,
            model_sha256,
            config.started,
            None if config.student is None else config.student.teacher_sha256,
        ),
        reference_sha256=reference_sha256,
        recipe=to_json(recipe) if recipe.name else None,
    )


def sealed(content: bytes, metadata: ArtifactMetadata) -> bytes:
    """The content of a TFLite or ONNX file, with metadata added.

    TFLite gets an appended zip of `metadata.json` and `labels.txt`, as is usual in the ecosystem; ONNX gets a property.
    """
    text = json.dumps(to_json(metadata), indent=1, ensure_ascii=False)
    if metadata.format == ArtifactFormat.ONNX:
        # Concatenated protobuf messages merge: the property is added without parsing the model.
        properties = onnx.ModelProto()
        properties.metadata_props.add(key=METADATA_KEY, value=text)
        return content + bytes(properties.SerializeToString())
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        for name, entry in ((METADATA_ENTRY, text), ("labels.txt", "\n".join(metadata.labels) + "\n")):
            # A fixed date: equal exports are equal bytes.
            file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), entry)
    return content + archive.getvalue()
