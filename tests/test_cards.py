"""The model card of a bundle: figures of the bundle and its run, nothing else, and a file like the others."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from markdown_it import MarkdownIt
from PIL import Image

from cxr_edge.artifacts.bundle import CARD, read_bundle, read_manifest
from cxr_edge.artifacts.metadata import NOTICE
from cxr_edge.artifacts.parity_result import RecordedParity
from cxr_edge.artifacts.publishing import publish
from cxr_edge.errors import ArtifactError
from cxr_edge.evaluation.operating import OperatingPoint
from cxr_edge.evaluation.operating_figures import OperatingFigures
from cxr_edge.evaluation.operating_fit import Basis, FittedPoint
from cxr_edge.evaluation.operating_record import OperatingRecord
from cxr_edge.evaluation.promise import Promise, PromiseKind
from cxr_edge.evaluation.run_metrics import read_run_metrics
from cxr_edge.evaluation.verified_artifact import recorded
from cxr_edge.files import sha256_of, write_json
from cxr_edge.records import from_json, to_json
from cxr_edge.reporting.card.card import update_card
from cxr_edge.runs import Run
from cxr_edge.updates.archive import pack
from cxr_edge.updates.install import install
from cxr_edge.updates.release import release
from tests.artifacts import OLD, some_metadata
from tests.conftest import Cli
from tests.tiny import ramp, write_bundle_with_references
from tests.tiny_runs import LABELS, write_bench, write_int8, write_run

POINT = OperatingRecord(
    FittedPoint(
        OperatingPoint("COVID-19", 0.00735, 0.799),
        Basis.VALIDATION,
        Promise(PromiseKind.GUARANTEED, 0.05, 0.0487, 62, 0),
        Promise(PromiseKind.GUARANTEED, 0.02, 0.0197, 400, 3),
    ),
    OperatingFigures(62, 60, 2, 400, 350, 47),
)


@pytest.fixture
def exported(tmp_path: Path) -> Run:
    return write_run(tmp_path / "runs" / "first", operating_point=to_json(POINT))


def card_of(cli: Cli, run: Run) -> str:
    """The card that the command writes."""
    result = cli("card", "--run", run.folder)
    assert result.code == 0, result.err
    return (run.bundle / CARD).read_text(encoding="utf-8")


def section(card: str, title: str) -> str:
    return card.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def evaluate_clinic(run: Run, cli: Cli, folder: Path) -> Path:
    """The record of an evaluation on two images from elsewhere, in the run."""
    for label in ("COVID-19", "Normal"):
        (folder / "clinic" / label).mkdir(parents=True)
        Image.fromarray(ramp()).save(folder / "clinic" / label / "x.png")
    artifact, output = run.bundle / "xception-int8.tflite", run.folder / "evaluate-clinic.json"
    assert cli("evaluate", "--artifact", artifact, "--data", folder / "clinic", "--json", output).code == 0
    return output


def numbers(value: Any) -> Iterator[float]:
    if isinstance(value, bool | str) or value is None:
        return
    if isinstance(value, int | float):
        yield float(value)
        return
    for own in value.values() if isinstance(value, dict) else value:
        yield from numbers(own)


def test_every_percentage_is_in_the_bundle_or_a_record_of_its_run(exported: Run, cli: Cli) -> None:
    shutil.copyfile(OLD / "audit.json", exported.audit_file)
    write_bench(exported)
    card = card_of(cli, exported)
    paths = (exported.bundle / "manifest.json", exported.audit_file, exported.bench_file)
    # The intervals of so old a record are computed from its counts.
    records = [*(json.loads(path.read_text()) for path in paths), to_json(read_run_metrics(exported.metrics_file))]
    known = {share for number in numbers(records) for share in (100 * number, 100 - 100 * number)}
    # To one digit, a promise rounded down or up; a threshold to three digits.
    shown = {
        f"{each:.1f}" for share in known for each in (share, math.floor(10 * share) / 10, math.ceil(10 * share) / 10)
    }
    shown |= {text for share in known for text in (f"{share:.3g}", f"{share:.2f}", f"{share:.0f}")}
    stated = re.findall(r"([\d.]+)(?: %| to [\d.]+\)|\))", card)
    assert len(stated) > 40
    assert set(stated) - shown == set()


def test_the_card_holds_data_rule_parity_and_what_was_never_measured(exported: Run, cli: Cli) -> None:
    card = card_of(cli, exported)
    assert NOTICE in card and "phantoms" not in card
    assert "| COVID-19 | 180 | 126 | 27 | 27 |" in section(card, "Training data")
    assert "patient is known for 0 of 540 images" in section(card, "Limits")
    rule = section(card, "Decision rule")
    assert "COVID-19 is called at 79.9 % or more and referred at 0.735 % or more" in rule
    assert "at least 95.1 % of COVID-19 called or referred" in rule
    assert "| xception-int8.tflite | COVID-19 | 0.00735 | 0.799 |" in rule
    parity = recorded(read_bundle(exported.bundle)[0]).parity
    low, high = parity.intervals.accuracy.low, parity.intervals.accuracy.high
    assert low is not None and high is not None
    assert f"{100 * parity.accuracy:.1f} % ({100 * low:.1f} to {100 * high:.1f})" in section(
        card, "Parity with the trained model"
    )
    assert "Keras float32" in section(card, "Accuracy by class")
    for title in ("Latency and energy", "Other images"):
        assert section(card, title).strip().startswith("Not measured")
    assert section(card, "Shortcuts in the training data").strip().startswith("Not recorded")
    assert "/home/ada" not in card


def test_later_measurements_of_these_files_are_added(exported: Run, cli: Cli, tmp_path: Path) -> None:
    write_bench(exported)
    shutil.copyfile(OLD / "audit.json", exported.audit_file)
    evaluate_clinic(exported, cli, tmp_path)
    card = card_of(cli, exported)
    figures = section(card, "Latency and energy")
    assert "| xception-int8.tflite | LiteRT | 2 | 5.20 | 6.01 | 6.45 |" in figures
    # The record's other rows are of other files.
    assert figures.count("LiteRT") == 1
    assert "Energy: not measured." in figures and "was noisy" in figures
    assert "| clinic | xception-int8.tflite | all | 2 | 50.0 %" in section(card, "Other images")
    rule = "of 1 COVID-19 image, 0 called, 1 referred, 0 missed; of 1 other image, 0 called correctly, 1 referred"
    assert rule in section(card, "Other images")
    assert str(tmp_path) not in card
    assert "| frame |" in section(card, "Shortcuts in the training data")
    write_bench(exported, energy_mj=12.5)
    assert "| 6.45 | 12.5 |" in section(card_of(cli, exported), "Latency and energy")


def test_records_of_other_files_are_left_out_and_named(exported: Run, cli: Cli, tmp_path: Path) -> None:
    shutil.copyfile(OLD / "bench.json", exported.bench_file)
    shutil.copyfile(OLD / "evaluate.json", exported.folder / "evaluate-old.json")
    exported.audit_file.write_text("[]")
    result = cli("card", "--run", exported.folder)
    assert result.code == 0, result.err
    for name in ("bench.json", "evaluate-old.json", "audit.json"):
        assert re.search(rf"{name}: .*not in the model card", result.out), name
    card = (exported.bundle / CARD).read_text()
    assert "Not measured: no benchmark" in card and "Not measured: no evaluation" in card
    exported.model_file.write_bytes(b"another Keras model")
    result = cli("card", "--run", exported.folder)
    assert "holds another model than the bundle" in result.out
    assert "How the images were split is not recorded" in (exported.bundle / CARD).read_text()


def test_an_evaluation_on_the_training_images_is_no_external_figure(
    exported: Run, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated = evaluate_clinic(exported, cli, tmp_path)
    record = json.loads(evaluated.read_text())
    assert record["in_split"] == {"train": 0, "validation": 0, "test": 0}
    # Of another name, and in another folder, one of them is what the model was trained on.
    digest = sha256_of(tmp_path / "clinic" / "Normal" / "x.png")
    rows = exported.split_file.read_text().splitlines()
    header, first, *others = rows
    exported.split_file.write_text("\n".join([header, first.replace("0" * 64, digest), *others]) + "\n")
    artifact, output = exported.bundle / "xception-int8.tflite", exported.folder / "evaluate-own.json"
    with monkeypatch.context() as patch:
        patch.chdir(tmp_path / "clinic")
        result = cli("evaluate", "--artifact", artifact, "--data", ".", "--json", output)
    assert result.code == 0, result.err
    assert "2 of 2 images are among those that the model was made with (train 2)" in " ".join(result.out.split())
    own = json.loads(output.read_text())
    assert Path(own["part"]).name == "clinic"
    del own["in_split"]
    (exported.folder / "evaluate-silent.json").write_text(json.dumps(own))
    result = cli("card", "--run", exported.folder)
    printed = " ".join(result.out.split())
    assert "evaluate-own.json: 2 of 2 images are in the data of the model's own run" in printed
    assert "evaluate-silent.json: does not say whether the model was made with its images" in printed
    figures = section((exported.bundle / CARD).read_text(), "Other images")
    assert figures.count("| clinic |") == 1


def test_the_card_of_a_model_trained_on_phantoms_says_so_first_and_has_no_model_index(exported: Run, cli: Cli) -> None:
    images = card_of(cli, exported)
    assert "model-index:" in images
    # What the fixtures were made with.
    write_int8(exported.bundle)
    card = card_of(cli, exported)
    assert card.index("Trained on phantoms") < card.index("\n## ")
    assert "model-index:" not in card


def test_the_front_matter_is_yaml(exported: Run, cli: Cli) -> None:
    yaml = pytest.importorskip("yaml", reason="pip install 'cxr-edge[docs]'")
    head = yaml.safe_load(card_of(cli, exported).split("---\n")[1])
    assert head["pipeline_tag"] == "image-classification"
    assert {"int8", "tflite", "onnx"} <= set(head["tags"])
    (metric,) = head["model-index"][0]["results"][0]["metrics"]
    parity = recorded(read_bundle(exported.bundle)[0]).parity
    assert metric == {"type": "accuracy", "value": round(parity.accuracy, 4)}


HOSTILE = ("<script>alert(1)</script>", "[a](https://example.org) | `b`", "*c* ![d](e.png) www.example.org &lt;")


def test_labels_are_text_and_nothing_else(exported: Run, cli: Cli) -> None:
    text = json.dumps(to_json(some_metadata().parity))
    for label, other in zip(LABELS, HOSTILE, strict=True):
        text = text.replace(json.dumps(label), json.dumps(other))
    parity = from_json(RecordedParity, json.loads(text))
    training = replace(read_bundle(exported.bundle)[0].metadata.training, images=dict.fromkeys(HOSTILE, 180))
    point = {**to_json(POINT), "sensitive_class": HOSTILE[0]}
    write_int8(exported.bundle, labels=HOSTILE, parity=parity, training=training, operating_point=point)
    card = card_of(cli, exported)
    body = card.split("---\n", 2)[2]
    parser = MarkdownIt("gfm-like", {"linkify": False})
    tokens = [inner for token in parser.parse(body) for inner in (token, *(token.children or ()))]
    assert not {"html_block", "html_inline", "link_open", "image", "em_open"} & {token.type for token in tokens}
    text = "".join(token.content for token in tokens if token.type in ("text", "text_special"))
    for label in HOSTILE:
        assert label in text
    cells = [len(re.findall(r"(?<!\\)\|", line)) for line in section(card, "Training data").splitlines() if "|" in line]
    assert len(set(cells)) == 1


def test_adding_or_removing_an_artifact_changes_the_card(exported: Run, cli: Cli, tmp_path: Path) -> None:
    assert "xception-int8.onnx" in card_of(cli, exported)
    part = tmp_path / "part"
    assert cli("bundle", "--run", exported.folder, "--only", "tflite", "--output", part).code == 0
    card = (part / CARD).read_text()
    assert "xception-int8.tflite" in card and "xception-int8.onnx" not in card
    assert "| COVID-19 | 180 | 126 | 27 | 27 |" in card
    assert read_manifest(part).card_sha256 == sha256_of(part / CARD)
    artifact = read_bundle(exported.bundle)[0]
    publish(artifact.path, artifact.path.read_bytes(), artifact.metadata)
    assert not (exported.bundle / CARD).exists()
    assert read_manifest(exported.bundle).card_sha256 is None


def test_a_new_card_does_not_make_its_bundle_the_latest(exported: Run, cli: Cli) -> None:
    shutil.copytree(exported.bundle, exported.bundle_of("pi"))
    for bundle, time in ((exported.bundle, 1_000_000), (exported.bundle_of("pi"), 2_000_000)):
        os.utime(bundle / "manifest.json", (time, time))
    result = cli("card", "--bundle", exported.bundle)
    assert result.code == 0, result.err
    assert (exported.bundle / CARD).is_file()
    assert exported.latest_bundle() == exported.bundle_of("pi")


def test_patients_that_are_all_known_are_no_limit(exported: Run, cli: Cli) -> None:
    record = json.loads(exported.config_file.read_text())
    exported.config_file.write_text(json.dumps({**record, "images_with_patient": sum(record["images"].values())}))
    assert "patient" not in section(card_of(cli, exported), "Limits").replace("patients", "")


def test_a_card_that_is_right_is_not_written_again(exported: Run, cli: Cli) -> None:
    first = card_of(cli, exported)
    stamps = {path.name: path.stat().st_mtime_ns for path in exported.bundle.iterdir()}
    assert card_of(cli, exported) == first
    assert {path.name: path.stat().st_mtime_ns for path in exported.bundle.iterdir()} == stamps
    (exported.bundle / CARD).write_text("better than it is")
    assert card_of(cli, exported) == first


def test_the_card_is_packed_signed_and_installed(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cxr_edge.updates.install.prove", lambda folder, max_p90_ms: None)
    bundle = write_bundle_with_references(tmp_path / "bundle")
    update_card(bundle)
    assert CARD in [own.file for own in release(bundle, keys[0], "cart", 1).files]
    packed = pack(bundle, tmp_path / "bundle.zip")
    assert CARD in packed.files
    installed = install(packed.path, tmp_path / "device", keys[1])
    assert (installed.folder / CARD).read_bytes() == (bundle / CARD).read_bytes()


@pytest.mark.parametrize("change", ["changed", "missing", "link"])
def test_another_card_than_the_listed_is_refused(
    tmp_path: Path, keys: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    monkeypatch.setattr("cxr_edge.updates.install.prove", lambda folder, max_p90_ms: None)
    bundle = write_bundle_with_references(tmp_path / "bundle")
    update_card(bundle)
    pack(bundle, tmp_path / "whole.zip")
    content = (bundle / CARD).read_text()
    (bundle / CARD).unlink()
    if change == "changed":
        (bundle / CARD).write_text(content.replace("Not a medical device", "A medical device"))
    elif change == "link":
        (tmp_path / "elsewhere.md").write_text(content)
        (bundle / CARD).symlink_to(tmp_path / "elsewhere.md")
    with pytest.raises(ArtifactError, match=CARD):
        pack(bundle, tmp_path / "bundle.zip")
    with pytest.raises(ArtifactError, match=CARD):
        release(bundle, keys[0], "cart", 1)
    if change == "changed":
        with zipfile.ZipFile(tmp_path / "whole.zip") as whole, zipfile.ZipFile(tmp_path / "x.zip", "w") as other:
            for name in whole.namelist():
                other.writestr(name, (bundle / name).read_bytes())
        with pytest.raises(ArtifactError, match=CARD):
            install(tmp_path / "x.zip", tmp_path / "device")
    update_card(bundle)
    assert not (bundle / CARD).is_symlink()
    assert (bundle / CARD).read_text() == content


def test_a_run_of_a_fold_names_the_pooled_figures_and_a_student_beside_it_does_not(exported: Run, cli: Cli) -> None:
    config = exported.config()
    options = replace(config.options, folds=5, fold=1)
    write_json(exported.config_file, to_json(replace(config, options=options)))
    shutil.copyfile(OLD / "cross_validation.json", exported.folder.parent / "cross_validation.json")
    fold = Run(Path(shutil.copytree(exported.folder, exported.folder.parent / "fold-1")))
    pooled = "each by the model that never saw it"
    assert pooled in section(card_of(cli, fold), "Accuracy by class")
    assert pooled not in section(card_of(cli, exported), "Accuracy by class")
