"""The bundle: a folder of artifacts with `manifest.json`, which says what each is, its hash, contract and verdict."""

from __future__ import annotations

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cxr_edge.errors import ArtifactError
from cxr_edge.files import sha256_of, write_json
from cxr_edge.imaging.rule import resize_of

SCHEMA = 1
MANIFEST = "manifest.json"
NOTICE = "Not a medical device: for research and engineering, not for diagnosis."
#: Name of the metadata inside an artifact: an entry of the zip appended to a TFLite file, a key of ONNX' properties.
METADATA_ENTRY = "metadata.json"
METADATA_KEY = "cxr_edge"
#: Scale and zero point of int8 probabilities: TFLite fixes them for an int8 softmax.
INT8_PROBABILITY = (1 / 256, -128)
_SHARED = {"labels", "contract", "imaging", "training"}
_ENTRY = {"file", "format", "quantization", "sha256", "bytes", "parity"}


@dataclass(frozen=True)
class Artifact:
    """One file of a bundle: `format` tflite or onnx, `quantization` none, fp16, int8, int8-ptq, mixed or mixed-ptq."""

    path: Path
    format: str
    quantization: str
    sha256: str
    bytes: int
    parity: dict[str, Any] | None
    #: For the bundle's reference inputs at export: `runtime`, its `probabilities` `[M][K]`, and those of `keras`.
    reference: dict[str, Any] | None
    #: Labels, contract, imaging rule and training data, as inside the file itself.
    metadata: dict[str, Any]

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(self.metadata["labels"])

    @property
    def image_size(self) -> int:
        return int(self.metadata["contract"]["input"]["shape"][1])

    @property
    def resize(self) -> str:
        """How it wants images brought to its size, of `imaging.rule.RESIZES`."""
        return resize_of(self.metadata["imaging"])

    @property
    def has_heatmap(self) -> bool:
        return "heatmap" in self.metadata["contract"]

    @property
    def name(self) -> str:
        return self.path.name


def heatmap_size(image_size: int) -> int:
    """Height and width of Xception's last feature map, and so of a heat map."""
    # Two convolutions without padding, of which the first has a stride of 2; then four strides with padding.
    return -(-((image_size - 3) // 2 - 1) // 16)


def contract(
    image_size: int, classes: int, output_type: str = "float32", batch: int | None = None, heatmap: bool = False
) -> dict[str, Any]:
    """The artifact contract: the same for every artifact, float or int8, TFLite or ONNX.

    With `heatmap` there is a second output, float32 `[N, H, W, K]`: at each place, what speaks for each class. The mean
    over all places, through a softmax, is the probabilities.

    A recipe for an accelerator may ask for int8 probabilities, whose scale and zero point it then names, and for one N.
    """
    first = "N" if batch is None else batch
    output: dict[str, Any] = {"name": "probabilities", "type": output_type, "shape": [first, classes]}
    if output_type == "int8":
        output.update(zip(("scale", "zero_point"), INT8_PROBABILITY, strict=True))
    side = heatmap_size(image_size)
    ends = {
        "input": {"name": "image", "type": "uint8", "shape": [first, image_size, image_size, 1]},
        "output": output,
    }
    if heatmap:
        ends["heatmap"] = {"name": "heatmap", "type": "float32", "shape": [first, side, side, classes]}
    return ends


def _known_contract(given: dict[str, Any], classes: int) -> bool:
    batch, image_size, *_ = given["input"]["shape"]
    output_type = given["output"]["type"]
    if output_type not in ("float32", "int8") or batch not in ("N", 1):
        return False
    return given == contract(image_size, classes, output_type, None if batch == "N" else batch, "heatmap" in given)


def _metadata_of_tflite(path: Path) -> dict[str, Any]:
    with zipfile.ZipFile(path) as archive:
        metadata: dict[str, Any] = json.loads(archive.read(METADATA_ENTRY))
    return metadata


def _metadata_of_onnx(path: Path) -> dict[str, Any]:
    # The properties lie at the file's top level: no ONNX package is needed to find them.
    from cxr_edge.artifacts.onnx_properties import read_properties

    metadata: dict[str, Any] = json.loads(read_properties(path)[METADATA_KEY])
    return metadata


def format_of(path: Path) -> str:
    """tflite or onnx, by the suffix. Raises ArtifactError for any other."""
    kind = path.suffix.lower().lstrip(".")
    if kind not in ("tflite", "onnx"):
        raise ArtifactError(f"{path}: not an artifact; its name must end in .tflite or .onnx")
    return kind


def read_artifact(path: Path) -> Artifact:
    """An artifact by itself, from the metadata inside it.

    Raises:
        ArtifactError: missing, or without this project's metadata.
    """
    kind = format_of(path)
    if not path.is_file():
        raise ArtifactError(f"{path}: no such artifact")
    try:
        metadata = (_metadata_of_tflite if kind == "tflite" else _metadata_of_onnx)(path)
        quantization = str(metadata["quantization"])
        if not set(metadata) >= _SHARED:
            raise KeyError(", ".join(sorted(_SHARED - set(metadata))))
        if not _known_contract(metadata["contract"], len(metadata["labels"])):
            raise ArtifactError(f"{path}: its contract is not the one this version of cxr-edge knows")
    except (KeyError, IndexError, TypeError, ValueError, zipfile.BadZipFile, OSError) as error:
        raise ArtifactError(f"{path}: holds no readable cxr-edge metadata ({error}); export it again") from None
    verdict, reference = metadata.get("parity"), metadata.get("reference_outputs")
    return Artifact(path, kind, quantization, sha256_of(path), path.stat().st_size, verdict, reference, metadata)


def read_checked_artifact(path: Path) -> Artifact:
    """As `read_artifact`, and compared with the manifest beside it, if there is one that lists it.

    Raises:
        ArtifactError: as `read_artifact`, or the file is not the one the manifest describes.
    """
    if path.is_file() and (path.parent / MANIFEST).is_file():
        for artifact in listed_artifacts(path.parent):
            if artifact.name == path.name:
                return checked(artifact)
    return read_artifact(path)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The content of a bundle's `manifest.json`. Raises ArtifactError when it is missing, damaged or too new."""
    path = folder / MANIFEST
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        schema = manifest["schema"]
        complete = set(manifest["shared"]) >= _SHARED and all(set(entry) >= _ENTRY for entry in manifest["artifacts"])
    except FileNotFoundError:
        raise ArtifactError(f"{folder}: not a bundle (no {MANIFEST}); write one with cxr-edge export") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(f"{path}: damaged ({error}); export the bundle again") from None
    if schema != SCHEMA:
        raise ArtifactError(f"{path}: of schema {schema}, this version of cxr-edge reads {SCHEMA}")
    if not complete:
        raise ArtifactError(f"{path}: damaged (fields are missing); export the bundle again")
    return manifest


def read_bundle(folder: Path) -> list[Artifact]:
    """The artifacts of a bundle, each checked against its hash.

    Raises:
        ArtifactError: a file is missing or is not the one the manifest describes.
    """
    artifacts = [checked(artifact) for artifact in listed_artifacts(folder)]
    if not artifacts:
        raise ArtifactError(f"{folder}: the bundle lists no artifacts; export some")
    return artifacts


def checked(artifact: Artifact) -> Artifact:
    """A listed artifact, if its file is the one the manifest describes. Raises ArtifactError where it is not."""
    if not artifact.path.is_file():
        raise ArtifactError(f"{artifact.path}: listed in {MANIFEST} but missing; export it again")
    if sha256_of(artifact.path) != artifact.sha256:
        raise ArtifactError(
            f"{artifact.path}: its SHA-256 is not the one in {MANIFEST}: the file was changed or damaged after the "
            "export; copy the bundle again or export it again"
        )
    return artifact


def listed_artifacts(folder: Path) -> list[Artifact]:
    """What a bundle's manifest says of its artifacts; pass what is used through `checked`. Raises ArtifactError."""
    manifest = read_manifest(folder)
    return [
        Artifact(
            # A name, not a path: a manifest may not point outside its folder.
            folder / Path(entry["file"]).name,
            entry["format"],
            entry["quantization"],
            entry["sha256"],
            entry["bytes"],
            entry["parity"],
            entry.get("reference_outputs"),
            {**manifest["shared"], "quantization": entry["quantization"]},
        )
        for entry in manifest["artifacts"]
    ]


def write_manifest(folder: Path, shared: dict[str, Any], artifacts: list[Artifact]) -> None:
    """Write `manifest.json`, atomically. `shared` is what all artifacts' metadata have in common."""
    write_json(
        folder / MANIFEST,
        {
            "schema": SCHEMA,
            "notice": NOTICE,
            "shared": shared,
            "artifacts": [
                {
                    "file": artifact.path.name,
                    "format": artifact.format,
                    "quantization": artifact.quantization,
                    "sha256": artifact.sha256,
                    "bytes": artifact.bytes,
                    "parity": artifact.parity,
                    "reference_outputs": artifact.reference,
                }
                for artifact in sorted(artifacts, key=lambda artifact: artifact.path.name)
            ],
        },
    )
