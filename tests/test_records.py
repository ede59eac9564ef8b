"""Records go to JSON and back, and their JSON Schemas in `docs/schemas` are those of the types."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxr_edge.artifacts.artifact import read_metadata
from cxr_edge.artifacts.contract import contract
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.artifacts.metadata import ArtifactMetadata, Manifest, Training, joined
from cxr_edge.artifacts.migration import current_manifest
from cxr_edge.exporting.seal import sealed
from cxr_edge.intervals import Interval
from cxr_edge.records import FIGURE, from_json, parse_json, to_json
from documentation.json_schema import json_schema
from tests.artifacts import old_record, some_metadata
from tests.schemas import SCHEMAS, WRITTEN, check_written, faults, schema_path


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    """A place."""

    x: float
    name: str = field(metadata={"key": "title"})
    colours: tuple[Colour, ...] = ()
    note: str | None = None


@dataclass(frozen=True)
class Measured:
    """A figure."""

    share: Interval = field(metadata=FIGURE)


def test_a_figure_without_a_pair_of_bounds_is_refused() -> None:
    figure = Measured(Interval(0.5, 0.4, 0.6))
    assert from_json(Measured, to_json(figure)) == figure
    assert from_json(Measured, {"share": 0.5}) == Measured(Interval(0.5))
    for interval in (5, [0.5], "ab"):
        with pytest.raises(ValueError, match="share: a pair of bounds is needed"):
            from_json(Measured, {"share": 0.5, "share_interval": interval})


@pytest.mark.parametrize("name", WRITTEN)
def test_the_schemas_in_docs_are_those_of_the_types(name: str) -> None:
    written = json.loads(schema_path(name).read_text(encoding="utf-8"))
    assert written == json_schema(*WRITTEN[name]), "write them again: python -m tests.schemas"
    assert {path.name for path in SCHEMAS.iterdir()} == {schema_path(known).name for known in WRITTEN}


def test_the_schema_check_detects_missing_undescribed_and_wrongly_typed_fields(tmp_path: Path) -> None:
    metadata = to_json(some_metadata())
    assert not faults("metadata", metadata)
    del metadata["labels"]
    metadata |= {"temperature": "1", "new": 1}
    assert {fault.partition(":")[0] for fault in faults("metadata", metadata)} == {"$", "$.temperature"}
    assert len(faults("metadata", metadata)) == 3
    (tmp_path / "x.json").write_text(json.dumps({"schema": 2}))
    with pytest.raises(AssertionError, match="labels"):
        check_written(["predict", "a.png", "--json", str(tmp_path / "x.json")])


def test_records_survive_a_round_trip_through_json() -> None:
    manifest = from_json(Manifest, current_manifest(old_record("manifest.json")))
    assert from_json(Manifest, json.loads(json.dumps(to_json(manifest)))) == manifest
    metadata = some_metadata()
    assert from_json(ArtifactMetadata, json.loads(json.dumps(to_json(metadata)))) == metadata
    assert joined(metadata.shared, metadata) == metadata


def test_a_field_is_written_under_its_key_and_a_default_of_none_is_left_out() -> None:
    assert to_json(Point(1, "a", (Colour.RED,))) == {"x": 1, "title": "a", "colours": ["red"]}
    assert from_json(Point, {"x": 1, "title": "a", "of a later version": 2}) == Point(1.0, "a")


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"x": 1}, "title is missing"),
        ({"x": "1", "title": "a"}, "x: number"),
        ({"x": True, "title": "a"}, "x: number"),
        ({"x": 1, "title": "a", "colours": ["blue"]}, r"colours\[0\]: 'blue'"),
        ({"x": 1, "title": "a", "colours": ["red", 3]}, r"colours\[1\]: a string"),
        ({"x": 1, "title": "a", "colours": "red"}, "colours: a list"),
        ({"x": 1, "title": "a", "note": 3}, "note: string"),
        ([], "object"),
    ],
)
def test_an_invalid_field_is_named(value: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        from_json(Point, value)


def test_an_invalid_nested_field_is_named_by_its_full_path() -> None:
    metadata = to_json(some_metadata())
    metadata["contract"]["input"]["shape"][1] = None
    metadata["training"]["images"]["Normal"] = "many"
    with pytest.raises(ValueError, match=r"^contract\.input\.shape\[1\]: .*; contract\.input\.shape\[1\]: "):
        from_json(ArtifactMetadata, metadata)
    metadata["contract"]["input"]["shape"][1] = 71
    with pytest.raises(ValueError, match=r"^training\.images\.Normal: integer is needed, not 'many'$"):
        from_json(ArtifactMetadata, metadata)


def test_a_repeated_key_is_named_among_very_many() -> None:
    text = "{" + "".join(f'"key {index}": 0, ' for index in range(20_000)) + '"key 19999": 1}'
    start = time.process_time()
    with pytest.raises(ValueError, match="the key 'key 19999' is repeated"):
        parse_json(text)
    assert time.process_time() - start < 1


def test_a_schema_says_what_is_required_and_what_may_be_null() -> None:
    schema = json_schema(Point, "point")["$defs"]["Point"]
    assert schema["required"] == ["x", "title"]
    assert schema["properties"]["note"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert schema["description"] == "A place."


def test_every_quantization_has_a_distinct_rank() -> None:
    assert sorted(member.rank for member in Quantization) == list(range(len(Quantization)))
    assert min(Quantization, key=lambda member: member.rank) == "int8"
    assert all(0 < member.tolerance < 0.1 for member in Quantization)
    assert [member.mixed().value for member in Quantization.exportable()] == ["float32", "fp16", "mixed", "mixed-ptq"]


def test_only_the_kinds_module_spells_out_quantizations() -> None:
    package = Path(str(Quantization.__module__.replace(".", "/")) + ".py")
    root = Path(__file__).parents[1]
    for path in (root / "cxr_edge").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        if path != root / package:
            assert not [name for name in ('"int8-ptq"', '"fp16"', '"mixed-ptq"', '"int8*') if name in text], path
            assert 'startswith("int8' not in text, path


@pytest.mark.parametrize("kind", list(ArtifactFormat))
def test_equal_metadata_is_sealed_into_equal_bytes(kind: ArtifactFormat) -> None:
    first, second = (sealed(b"content", some_metadata(format=kind)) for _ in range(2))
    assert first == second
    assert first.startswith(b"content")


@pytest.mark.parametrize("kind", list(ArtifactFormat))
def test_metadata_of_any_size_is_read(kind: ArtifactFormat, tmp_path: Path) -> None:
    # Random digits, which no compression makes small.
    metadata = some_metadata(format=kind, recipe={"why": np.random.default_rng(0).bytes(2 << 20).hex()})
    path = tmp_path / f"x.{kind}"
    path.write_bytes(sealed(b"" if kind is ArtifactFormat.ONNX else b"content", metadata))
    assert read_metadata(path) == metadata


def test_a_contract_is_known_only_if_every_field_matches() -> None:
    known = contract(71, 3, "int8", batch=1)
    assert known.is_known(3)
    assert not known.is_known(4)
    assert not replace(known, probabilities=replace(known.probabilities, scale=0.1)).is_known(3)
    assert not known.takes_any_number


def test_phantoms_are_told_from_images() -> None:
    training = some_metadata().training
    assert training.phantoms
    assert not from_json(Training, {**to_json(training), "data": "images"}).phantoms
