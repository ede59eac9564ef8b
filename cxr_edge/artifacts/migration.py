"""Migrate metadata and manifests of earlier schemas: the only place that knows those schemas.

Schema 1, up to November 2026: float32 was called "none", the imaging rule was prose, a bundle had one operating point
for all of its artifacts, and its manifest did not repeat how each one was calibrated. The metadata inside a file had no
schema number. The oldest bundles have no temperature, no reference outputs, no heat map and no intervals.

Schema 3 is schema 2 with a cascade, and only a manifest has it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.artifacts.metadata import CASCADE_SCHEMA, SCHEMA
from cxr_edge.imaging.rule import NO_DICOM, WITH_GROUPS, WITHOUT_GROUPS
from cxr_edge.records import JsonObject

_FIRST = 1
#: The key `integer_flavour` of early recipes, expressed in the three keys that replaced it.
FLAVOURS: Mapping[str, Mapping[str, Any]] = {
    "uint8": {"activation_type": "uint8", "reduced_range": False, "symmetric_activations": False},
    "uint8-reduced": {"activation_type": "uint8", "reduced_range": True, "symmetric_activations": False},
    "int8": {"activation_type": "int8", "reduced_range": False, "symmetric_activations": False},
    "int8-symmetric": {"activation_type": "int8", "reduced_range": False, "symmetric_activations": True},
}
_OWN = ("format", "quantization", "calibration", "packages", "operating_point", "parity", "reference_outputs")
#: The full prose of imaging rules, and the identifiers that replaced it.
_PROSE = {
    "decoder": {"Pillow": "pillow"},
    "orientation": {"EXIF orientation applied": "exif"},
    "grey": {
        "ITU-R 601-2 luma; alpha ignored; 16-bit and 32-bit grey stretched from its own minimum..maximum to 0..255": (
            "luma-601"
        )
    },
    "resize": {
        "stretch to S x S": "stretch",
        "fit into S x S, its proportions kept, centred on black": "pad",
    },
    "filter": {"bilinear, antialiased": "bilinear-antialiased"},
    "dicom": {
        "by content (DICM at byte 128); one frame; modality LUT or rescale; first VOI LUT, else first window, over its "
        "whole output range; without either, up to 8 bits over the stored range and deeper ones from their own "
        "minimum..maximum without padding; MONOCHROME1 inverted; colour to RGB, then luma; overlays and presentation "
        "LUT ignored": WITHOUT_GROUPS,
        "by content (DICM at byte 128); one frame; modality LUT or rescale; first VOI LUT, else first window, over its "
        "whole output range; each of the two from the frame's functional groups where it stands there alone; without "
        "LUT and window, up to 8 bits over the stored range and deeper ones from their own minimum..maximum without "
        "padding; MONOCHROME1 inverted; colour to RGB, then luma; overlays and presentation LUT ignored": WITH_GROUPS,
    },
}


def current_metadata(metadata: JsonObject) -> JsonObject:
    """The metadata inside a file, of any schema, in today's schema. Raises ValueError for an unknown schema."""
    if _schema_of(metadata, _FIRST, SCHEMA) == SCHEMA:
        return metadata
    return {"notice": metadata["notice"], **_shared(metadata), **_own(metadata, metadata.get("operating_point"))}


def current_manifest(manifest: JsonObject) -> JsonObject:
    """A manifest of any schema, in today's schema. Raises ValueError for an unknown schema."""
    if _schema_of(manifest, None, CASCADE_SCHEMA) != _FIRST:
        return manifest
    shared = manifest["shared"]
    return {
        "notice": shared["notice"],
        "shared": _shared(shared),
        "artifacts": [
            {
                **{name: entry[name] for name in ("file", "sha256", "bytes")},
                **_own(entry, shared.get("operating_point")),
            }
            for entry in manifest["artifacts"]
        ],
    }


def current_rule(rule: JsonObject) -> JsonObject:
    """An imaging rule in prose, as identifiers; unknown words are kept."""
    known = {name: _PROSE[name].get(str(rule[name]), str(rule[name])) for name in _PROSE if name in rule}
    return {"dicom": NO_DICOM, **known, "version": rule["version"]}


def current_recipe(recipe: Mapping[str, Any]) -> JsonObject:
    """A recipe, from a file or metadata, with today's keys.

    `integer_flavour` combined three choices; `input_type` had a single value, `uint8`, which every artifact has.
    """
    current = {key: value for key, value in recipe.items() if key not in ("integer_flavour", "input_type")}
    return {**current, **FLAVOURS[recipe["integer_flavour"]]} if "integer_flavour" in recipe else current


def _schema_of(value: JsonObject, default: int | None, latest: int) -> int:
    schema: Any = value.get("schema", default)
    if schema not in range(_FIRST, latest + 1):
        raise ValueError(f"of schema {schema}, this version of cxr-edge reads up to {latest}")
    return int(schema)


def _shared(shared: JsonObject) -> JsonObject:
    migrated = {
        "cxr_edge": shared["cxr_edge"],
        "labels": shared["labels"],
        "contract": shared["contract"],
        "imaging": current_rule(shared["imaging"]),
        "temperature": shared.get("temperature", 1.0),
        "training": shared["training"],
        "reference_sha256": shared.get("reference_sha256"),
    }
    if recipe := shared.get("recipe"):
        migrated["recipe"] = {
            **current_recipe(recipe),
            "quantize": [str(Quantization(name)) for name in recipe["quantize"]],
        }
    return migrated


def _parity(parity: JsonObject | None) -> JsonObject | None:
    """A recorded parity, if it has intervals to judge it by: without them the artifact counts as never verified."""
    if parity is None or "intervals" not in parity:
        return None
    errors = parity["calibration_error"]
    # Before there was a temperature, nothing was scaled.
    unscaled = {f"{name}_unscaled": errors[name] for name in ("reference", "artifact")}
    return {**parity, "calibration_error": {**unscaled, **errors}}


def _own(entry: JsonObject, operating_point: JsonObject | None) -> JsonObject:
    own = {name: entry.get(name) for name in _OWN}
    return {
        **own,
        "parity": _parity(own["parity"]),
        "quantization": str(Quantization(entry["quantization"])),
        "packages": entry.get("packages", {}),
        "operating_point": operating_point,
    }
