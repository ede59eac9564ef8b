"""What commit a3fe295 left on disk stays readable: runs, bundles, artifacts and the record of each command."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cxr_edge.artifacts.artifact import read_artifact
from cxr_edge.artifacts.bundle import listed_artifacts, read_bundle, read_manifest, write_manifest
from cxr_edge.artifacts.gate import Gate
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.artifacts.migration import current_manifest, current_metadata
from cxr_edge.artifacts.publishing import publish
from cxr_edge.auditing.record import Audit
from cxr_edge.benchmarking.compare import Change, compare
from cxr_edge.benchmarking.record import read_record
from cxr_edge.data.split import run_split
from cxr_edge.errors import ArtifactError
from cxr_edge.evaluation.metrics import ClassificationMetrics
from cxr_edge.evaluation.operating import operating_point_of
from cxr_edge.evaluation.replay import ReplayResult
from cxr_edge.evaluation.run_metrics import CrossValidation, RunMetrics
from cxr_edge.evaluation.verified_artifact import VerifiedArtifact, recorded
from cxr_edge.files import sha256_of
from cxr_edge.imaging.rule import RULE, WITH_GROUPS, same_pixels
from cxr_edge.prediction.prediction import PredictionBatch
from cxr_edge.records import from_json, to_json
from cxr_edge.reporting.html.audit import write_audit_page
from cxr_edge.reporting.terminal.bench import show_bench
from cxr_edge.reporting.terminal.metrics import show_cross_validation, show_metrics
from cxr_edge.reporting.terminal.parity import gate_parity, gate_replay, show_parity, show_replay
from cxr_edge.reporting.terminal.predictions import show_predictions
from cxr_edge.reporting.terminal.tables import percent
from cxr_edge.runs import Run
from tests.artifacts import OLD, old_record, write_stub


@pytest.fixture
def old_bundle(tmp_path: Path) -> Path:
    folder = tmp_path / "bundle"
    folder.mkdir()
    shutil.copy(OLD / "manifest.json", folder)
    return folder


def test_the_training_data_and_the_split_of_an_old_run_are_read(tmp_path: Path) -> None:
    for name in ("run.json", "split.csv"):
        shutil.copy(OLD / name, tmp_path)
    (tmp_path / "phantoms").mkdir()
    run = Run(tmp_path)
    assert run.phantoms
    split = run_split(run)
    assert {item.part for item in split.items} == {"train", "validation", "test"}
    assert (split.labels, split.resize) == (("COVID-19", "Viral Pneumonia", "Normal"), "stretch")


def test_an_old_manifest_lists_its_artifacts(old_bundle: Path) -> None:
    listed = {artifact.name: artifact for artifact in listed_artifacts(old_bundle)}
    assert {name: artifact.quantization for name, artifact in listed.items()} == {
        "xception-none.onnx": Quantization.FLOAT32,
        "xception-fp16.onnx": Quantization.FP16,
        "xception-int8.tflite": Quantization.INT8,
    }
    for artifact in listed.values():
        assert artifact.metadata.training.phantoms
        assert same_pixels(artifact.metadata.imaging)
        assert artifact.verdict == "not enough images"
        assert artifact.reference is not None and len(artifact.reference.keras) == 2
        point = operating_point_of(artifact.metadata.operating_point)
        assert point is not None and point.sensitive_class == "COVID-19"


def test_an_old_manifest_is_rewritten_in_the_current_schema_without_loss(old_bundle: Path) -> None:
    before = listed_artifacts(old_bundle)
    write_manifest(old_bundle, before[0].metadata.shared, before)
    assert "none" not in {entry.quantization.value for entry in read_manifest(old_bundle).artifacts}
    assert json.loads((old_bundle / "manifest.json").read_text())["schema"] == 2
    assert listed_artifacts(old_bundle) == sorted(before, key=lambda artifact: artifact.name)


def test_an_old_bundle_passes_the_check_against_its_manifest(tmp_path: Path) -> None:
    """Its manifest does not repeat how an artifact was calibrated, nor with which packages: the file says it."""
    path = write_stub(tmp_path / "xception-int8.tflite", old_record("metadata-int8.tflite.json"))
    manifest = old_record("manifest.json")
    (entry,) = (entry for entry in manifest["artifacts"] if entry["file"] == path.name)
    manifest["artifacts"] = [entry | {"sha256": sha256_of(path), "bytes": path.stat().st_size}]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (artifact,) = read_bundle(tmp_path)
    assert artifact.metadata == read_artifact(path).metadata
    manifest["shared"]["labels"] = ["Normal", "Viral Pneumonia", "COVID-19"]
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="differ in labels"):
        read_bundle(tmp_path)


@pytest.mark.parametrize("name", ["int8.tflite", "none.onnx"])
def test_the_metadata_of_an_old_artifact_are_read(tmp_path: Path, name: str) -> None:
    artifact = read_artifact(write_stub(tmp_path / f"xception-{name}", old_record(f"metadata-{name}.json")))
    assert artifact.quantization == {"int8.tflite": Quantization.INT8, "none.onnx": Quantization.FLOAT32}[name]
    assert (artifact.image_size, artifact.resize, artifact.has_heatmap) == (71, "stretch", True)
    assert artifact.metadata.imaging == replace(RULE, version=2, dicom=WITH_GROUPS)
    assert same_pixels(artifact.metadata.imaging)
    assert artifact.labels == ("COVID-19", "Viral Pneumonia", "Normal")


def test_the_oldest_artifacts_need_no_temperature_no_reference_and_no_heat_map(tmp_path: Path) -> None:
    metadata = old_record("metadata-none.onnx.json")
    for name in ("temperature", "operating_point", "reference_outputs", "reference_sha256"):
        del metadata[name]
    del metadata["contract"]["heatmap"]
    del metadata["imaging"]["dicom"]
    metadata["imaging"]["version"] = 1
    artifact = read_artifact(write_stub(tmp_path / "x.onnx", metadata))
    assert (artifact.metadata.temperature, artifact.reference, artifact.has_heatmap) == (1.0, None, False)
    assert same_pixels(artifact.metadata.imaging)


def test_a_recorded_parity_is_read_in_full(tmp_path: Path) -> None:
    metadata = old_record("metadata-int8.tflite.json")
    parity = read_artifact(write_stub(tmp_path / "x.tflite", metadata)).parity
    assert parity is not None
    assert to_json(parity) == {
        **metadata["parity"],
        "gate": to_json(Gate(**metadata["parity"]["gate"])),
        "conditions": [],
    }
    errors = metadata["parity"]["calibration_error"]
    del errors["reference_unscaled"], errors["artifact_unscaled"]
    before = read_artifact(write_stub(tmp_path / "y.tflite", metadata)).parity
    assert before is not None
    assert before.result.calibration_error.artifact_unscaled == errors["artifact"]


def test_a_parity_without_intervals_counts_as_never_verified(tmp_path: Path) -> None:
    metadata = old_record("metadata-int8.tflite.json")
    names = (
        "runtime",
        "images",
        "agreement",
        "reference_accuracy",
        "accuracy",
        "largest_difference",
        "gate",
        "verdict",
    )
    metadata["parity"] = {name: metadata["parity"][name] for name in names}
    artifact = read_artifact(write_stub(tmp_path / "x.tflite", metadata))
    assert (artifact.parity, artifact.verdict) == (None, None)
    with pytest.raises(ArtifactError, match="never verified; export it again"):
        recorded(artifact)


def test_publishing_replaces_the_file_under_the_old_name(old_bundle: Path) -> None:
    old = {artifact.name: artifact for artifact in listed_artifacts(old_bundle)}["xception-none.onnx"]
    old.path.write_text("an old file")
    metadata = replace(old.metadata, quantization=Quantization.FLOAT32)
    new = write_stub(old_bundle.parent / "xception-float32.onnx", to_json(metadata))
    notes = publish(old_bundle / new.name, new.read_bytes(), metadata).notes
    assert not old.path.exists()
    assert [artifact.name for artifact in listed_artifacts(old_bundle)] == ["xception-float32.onnx"]
    # The other two are in the fixture's manifest alone.
    assert len(notes) == 2


@pytest.mark.parametrize(
    ("flavour", "today"),
    [
        ("uint8", ("uint8", False, False)),
        ("uint8-reduced", ("uint8", True, False)),
        ("int8", ("int8", False, False)),
        ("int8-symmetric", ("int8", False, True)),
    ],
)
def test_the_recipe_of_an_old_artifact_has_todays_keys(flavour: str, today: tuple[str, bool, bool]) -> None:
    old = {"device": "x", "quantize": ["none", "int8"], "integer_flavour": flavour, "input_type": "uint8", "opset": 17}
    metadata = current_metadata(old_record("metadata-none.onnx.json") | {"recipe": old})
    names = ("activation_type", "reduced_range", "symmetric_activations")
    kept = {"device": "x", "quantize": ["float32", "int8"], "opset": 17}
    assert metadata["recipe"] == kept | dict(zip(names, today, strict=True))


@pytest.mark.parametrize(("migrate", "schema"), [(current_manifest, 4), (current_metadata, 3)])
def test_a_newer_schema_is_refused_with_its_number(migrate: Callable[[dict[str, Any]], Any], schema: int) -> None:
    with pytest.raises(ValueError, match=f"schema {schema}, .* reads up to {schema - 1}"):
        migrate({"schema": schema})


def test_an_error_about_a_damaged_manifest_names_the_field(old_bundle: Path) -> None:
    manifest = old_record("manifest.json")
    manifest["artifacts"][1]["bytes"] = "many"
    (old_bundle / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=r"artifacts\[1\]\.bytes: integer"):
        listed_artifacts(old_bundle)


def test_a_contract_of_another_project_is_refused(tmp_path: Path) -> None:
    metadata = old_record("metadata-none.onnx.json")
    metadata["contract"]["input"]["type"] = "float32"
    with pytest.raises(ArtifactError, match="contract"):
        read_artifact(write_stub(tmp_path / "x.onnx", metadata))


def test_old_records_are_shown(capfd: pytest.CaptureFixture[str]) -> None:
    show_parity([from_json(VerifiedArtifact, row) for row in old_record("verify.json")], phantoms=True)
    gate_parity([from_json(VerifiedArtifact, row) for row in old_record("export.json")])
    replayed = [from_json(ReplayResult, row) for row in old_record("replay.json")]
    show_replay(replayed)
    gate_replay(replayed)
    show_predictions(PredictionBatch.from_json(old_record("predict.json")))
    show_metrics(ClassificationMetrics.from_json(old_record("evaluate.json")), "Evaluated", phantoms=True)
    show_metrics(RunMetrics.from_json(old_record("metrics.json")).metrics, "Trained", phantoms=True)
    show_cross_validation(CrossValidation.from_json(old_record("cross_validation.json")))
    out = capfd.readouterr().out
    for name in ("none.onnx", "xception-int8.tflite", "normal-00000.png", "COVID-19"):
        assert name in out


def test_a_calibration_error_before_and_after_does_not_read_as_a_range(capfd: pytest.CaptureFixture[str]) -> None:
    rows = [from_json(VerifiedArtifact, row) for row in old_record("verify.json")]
    show_parity(rows, phantoms=True)
    out = capfd.readouterr().out
    error = rows[0].parity.calibration_error
    before, after = percent(error.reference_unscaled), percent(error.reference)
    assert f"(Keras: {before} % before, {after} % after)" in " ".join(out.split())
    for row in rows:
        error = row.parity.calibration_error
        assert f"{percent(error.artifact_unscaled)} to {percent(error.artifact)}" not in out


def test_old_bench_records_are_compared_with_new_ones(capfd: pytest.CaptureFixture[str]) -> None:
    record = read_record(OLD / "bench.json")
    show_bench(record)
    assert record.conclusion in capfd.readouterr().out
    assert Quantization.FLOAT32 in {row.quantization for row in record.rows}
    assert {row.verdict for row in compare(record, record)} <= {Change.SAME, Change.UNKNOWN}


def test_an_old_audit_record_becomes_a_page(tmp_path: Path) -> None:
    write_audit_page(Audit.from_json(old_record("audit.json")), tmp_path / "audit.html", None)
    assert "COVID-19" in (tmp_path / "audit.html").read_text()


def test_float32_is_read_by_its_old_name() -> None:
    assert Quantization("none") is Quantization.FLOAT32
