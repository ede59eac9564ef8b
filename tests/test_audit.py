"""The audit finds what was planted, and does not find what was not."""

from __future__ import annotations

import csv
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageOps

from cxr_edge.auditing.measure import Measurement, Unreadable, border_share, count_marks, measure, measure_all
from cxr_edge.auditing.record import Audit
from cxr_edge.auditing.shortcut import balanced_accuracy
from cxr_edge.copies.alignment import align
from cxr_edge.copies.altered import MIN_LOCAL_CORRELATION, what_was_done
from cxr_edge.copies.duplicates import MAX_DISTANCE, find_copies, near_pairs
from cxr_edge.data.layouts import find_data_set
from cxr_edge.data.split import write_split
from cxr_edge.intervals import Interval
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.phantoms.drawing import LABELS
from cxr_edge.records import to_json
from cxr_edge.reporting.terminal.audit import show_audit
from cxr_edge.runs.config import RunConfig
from cxr_edge.train_options import completed
from cxr_edge.training.splitting import make_split
from tests.conftest import Cli, examined, split_of


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantoms")
    write_phantoms(folder, 40, size=96)
    return folder


@pytest.fixture
def data(phantoms: Path, tmp_path: Path) -> Path:
    """A copy to plant faults in."""
    return Path(shutil.copytree(phantoms, tmp_path / "data"))


def files(folder: Path, label: str) -> list[Path]:
    return sorted((folder / label).iterdir())


def audited(cli: Cli, *arguments: object, code: int = 0) -> dict[str, Any]:
    output = Path(str(arguments[0])).parent / "audit.json"
    outcome = cli("audit", *arguments, "--json", output)
    assert outcome.code == code, outcome.err
    record: dict[str, Any] = json.loads(output.read_text())
    return record


def kinds(record: dict[str, Any], severity: str = "serious") -> set[str]:
    return {finding["kind"] for finding in record["findings"] if finding["severity"] == severity}


@pytest.mark.slow
def test_sound_data_has_no_serious_finding(data: Path, cli: Cli) -> None:
    record = audited(cli, data, "--strict")
    assert kinds(record) == kinds(record, "warning") == set()
    assert record["copies"] == record["unreadable"] == record["blank"] == []
    assert [row["images"] for row in record["classes"]] == [40, 40, 40]
    assert record["classes"][0]["sizes"]["most_common"] == {"96 x 96": 40}
    tests = {row["test"]: row for row in record["shortcuts"]}
    assert set(tests) == {"frame", "metadata", "thumbnail"}
    for name in ("frame", "metadata"):
        assert tests[name]["verdict"] in ("none", "some")


@pytest.mark.slow
def test_exact_and_near_copies_are_found_in_one_class(data: Path, cli: Cli) -> None:
    first, second, third, fourth, fifth, *_ = files(data, "Normal")
    folder = data / "Normal"
    shutil.copy(first, folder / "exact.png")
    with Image.open(second) as image:
        image.save(folder / "encoded.jpg", quality=60)
    with Image.open(third) as image:
        image.resize((160, 150), Image.Resampling.BICUBIC).save(folder / "scaled.png")
    with Image.open(fourth) as image:
        image.point(lambda grey: 0.8 * grey + 30).save(folder / "brighter.png")
    with Image.open(fifth) as image:
        image.save(folder / "again.png", compress_level=1)
    record = audited(cli, data, "--strict")
    copies = {frozenset(Path(file["path"]).name for file in row["files"]): row["kind"] for row in record["copies"]}
    assert copies == {
        frozenset({first.name, "exact.png"}): "exact",
        frozenset({second.name, "encoded.jpg"}): "near",
        frozenset({third.name, "scaled.png"}): "near",
        frozenset({fourth.name, "brighter.png"}): "near",
        frozenset({fifth.name, "again.png"}): "near",
    }
    assert kinds(record, "warning") == {"exact copies", "near copies"}
    # A copy of a file is of one class with it, and so must count as one case in the shortcut tests, too.
    assert kinds(record) == set()


@pytest.mark.slow
def test_a_picture_under_two_labels_is_serious(data: Path, cli: Cli) -> None:
    shutil.copy(files(data, "Normal")[0], data / "COVID-19" / "twin.png")
    record = audited(cli, data, "--strict", code=3)
    assert kinds(record) == {"label conflict"}
    (row,) = record["copies"]
    assert row["kind"] == "exact"
    assert {file["label"] for file in row["files"]} == {"Normal", "COVID-19"}
    with Image.open(files(data, "Normal")[1]) as image:
        image.save(data / "Viral Pneumonia" / "twin.jpg", quality=70)
    record = audited(cli, data, code=0)
    assert [row["kind"] for row in record["copies"]] == ["exact", "near"]


@pytest.mark.slow
def test_each_file_that_cannot_be_read_is_named_with_its_reason(data: Path, cli: Cli) -> None:
    whole = files(data, "Normal")[0].read_bytes()
    (data / "Normal" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (data / "Normal" / "text.png").write_text("no image")
    (data / "COVID-19" / "empty.png").touch()
    record = audited(cli, data, "--strict", code=3)
    reasons = {row["path"]: row["reason"] for row in record["unreadable"]}
    assert set(reasons) == {"Normal/cut.png", "Normal/text.png", "COVID-19/empty.png"}
    assert "truncated" in reasons["Normal/cut.png"]
    assert "not an image" in reasons["Normal/text.png"]
    assert "empty" in reasons["COVID-19/empty.png"]
    assert str(data) not in json.dumps(record)
    assert kinds(record) == {"unreadable"}
    assert [row["unreadable"] for row in record["classes"]] == [1, 0, 2]


def in_parts(phantoms: Path, root: Path) -> Path:
    for label in LABELS:
        for index, path in enumerate(files(phantoms, label)):
            target = root / ("train" if index < 30 else "test") / label / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return root


@pytest.mark.slow
def test_patients_and_copies_in_two_split_folders_are_serious(phantoms: Path, tmp_path: Path, cli: Cli) -> None:
    root = in_parts(phantoms, tmp_path / "data")
    assert kinds(audited(cli, root, "--strict")) == set()
    train, test = files(root / "train", "Normal")[0], files(root / "test", "Normal")[0]
    rows = [f"{path.relative_to(root).as_posix()},p1" for path in (train, test)]
    (root / "patients.csv").write_text("path,patient_id\n" + "\n".join(rows) + "\n")
    with Image.open(files(root / "train", "Normal")[1]) as image:
        image.save(root / "test" / "Normal" / "again.jpg", quality=80)
    record = audited(cli, root, "--strict", code=3)
    assert kinds(record) == {"patients across splits", "copies across splits"}
    assert record["parts"] == {"test": 31, "train": 90}
    (patient,) = record["patients"]["across_parts"]
    assert {file["part"] for file in patient["files"]} == {"train", "test"}


@pytest.mark.slow
def test_the_split_of_a_run_is_audited(data: Path, tmp_path: Path, cli: Cli) -> None:
    run = tmp_path / "run"
    split = split_of(find_data_set(data), 0)
    write_split(split, run / "split.csv")
    counts = find_data_set(data).counts()
    config = RunConfig("", "", split.labels, counts, split.data_hash(), completed({"data": str(data)}))
    (run / "run.json").write_text(json.dumps(to_json(config)))
    record = audited(cli, data, "--run", run, "--strict")
    assert sum(record["parts"].values()) == record["images"] == 120
    assert cli("audit", "--run", run).code == 0
    # What an older version would have done: a copy on the other side.
    train, test = split.part("train")[0], split.part("test")[0]
    shutil.copy(data / train.path, data / test.path)
    record = audited(cli, data, "--run", run, "--strict", code=3)
    assert "copies across splits" in kinds(record)
    assert cli("audit", tmp_path, "--run", run).code == 2


def test_the_sources_of_a_run_are_those_of_its_data(phantoms: Path, tmp_path: Path, cli: Cli) -> None:
    images = [(path, label) for label in LABELS[:2] for path in files(phantoms, label)[:6]]
    table = tmp_path / "images.csv"
    with table.open("w", newline="") as file:
        rows = [(path, label, f"hospital of {label}") for path, label in images]
        csv.writer(file).writerows([("path", "label", "source"), *rows])
    data, run = find_data_set(table), tmp_path / "run"
    split = split_of(data, 0)
    write_split(split, run / "split.csv")
    config = RunConfig("", "", split.labels, data.counts(), split.data_hash(), completed({"data": str(table)}))
    (run / "run.json").write_text(json.dumps(to_json(config)))
    whole = audited(cli, table, "--strict", code=3)
    # A class that was added since changes nothing.
    with table.open("a", newline="") as file:
        csv.writer(file).writerow((files(phantoms, LABELS[2])[0], "Lung lesion", "hospital of none"))
    outcome = cli("audit", "--run", run, "--strict", "--json", tmp_path / "run.json")
    assert outcome.code == 3, outcome.err
    assert json.loads((tmp_path / "run.json").read_text())["sources"] == whole["sources"]


def test_a_table_of_labels_will_do(phantoms: Path, tmp_path: Path, cli: Cli) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    rows = []
    for label in LABELS:
        for path in files(phantoms, label)[:3]:
            shutil.copy(path, flat / path.name)
            rows.append((path.name, label))
    with (flat / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *rows, ("gone.png", "Normal")])
    record = audited(cli, flat)
    assert [row["images"] for row in record["classes"]] == [3, 3, 4]
    assert [row["path"] for row in record["unreadable"]] == ["gone.png"]
    assert {row["verdict"] for row in record["shortcuts"]} == {"not tested"}


@pytest.mark.slow
def test_a_planted_shortcut_is_found_in_the_frame_and_in_the_metadata(data: Path, cli: Cli) -> None:
    for label, shade in zip(LABELS, (20, 120, 220), strict=True):
        for path in files(data, label):
            with Image.open(path) as image:
                image.load()
            ImageDraw.Draw(image).rectangle((0, 0, 95, 5), fill=shade)
            image.save(path)
    record = audited(cli, data, "--strict", code=3)
    assert kinds(record) == {"shortcut: frame"}
    row = next(row for row in record["shortcuts"] if row["test"] == "frame")
    assert row["balanced_accuracy"]["low"] > 0.9
    assert "without seeing the lungs" in row["sentence"]
    for path in files(data, "Normal"):
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"))
        path.unlink()
    assert "shortcut: metadata" in kinds(audited(cli, data, "--strict", code=3))


@pytest.mark.slow
def test_marks_and_borders_that_name_a_class_are_warned_of(data: Path, cli: Cli) -> None:
    for path in files(data, "COVID-19"):
        with Image.open(path) as image:
            image = image.resize((256, 256))
        ImageDraw.Draw(image).text((8, 20), "R", fill=255, font_size=32)
        image.save(path)
    for path in files(data, "Normal"):
        with Image.open(path) as image:
            image.load()
        ImageDraw.Draw(image).rectangle((0, 0, 95, 4), fill=0)
        image.save(path)
    record = audited(cli, data)
    assert {"borders of one colour", "burnt-in marks"} <= kinds(record, "warning")


@pytest.mark.slow
def test_the_page_needs_no_network_and_shows_no_image_unasked(data: Path, tmp_path: Path, cli: Cli) -> None:
    shutil.copy(files(data, "Normal")[0], data / "Normal" / "copy.png")
    (data / "Normal" / "<b>.png").write_text("no image")
    page = tmp_path / "page.html"
    assert cli("audit", data, "--html", page).code == 0
    text = page.read_text()
    assert [link for link in re.findall(r'(?:src|href)="([^"]*)"', text) if not link.startswith("data:")] == []
    assert "<script" not in text and "@import" not in text and "url(" not in text
    assert "data:image/png" not in text
    assert "Normal/copy.png" in text and "&lt;b&gt;.png" in text
    assert "Not a medical device" in text
    assert str(tmp_path) not in text
    assert cli("audit", data, "--html", page, "--with-images").code == 0
    assert page.read_text().count("data:image/png") == 2
    assert cli("audit", data, "--with-images").code == 2


@pytest.mark.slow
def test_ten_thousand_empty_files_end_in_a_clear_result(tmp_path: Path, cli: Cli) -> None:
    for label in ("Normal", "COVID-19"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for index in range(5000):
            (tmp_path / "data" / label / f"{index}.png").touch()
    start = time.monotonic()
    outcome = cli("audit", tmp_path / "data", "--strict")
    assert time.monotonic() - start < 30
    assert outcome.code == 3
    assert "10000 files cannot be read" in outcome.out
    assert "and 9999 more: empty" in outcome.out
    assert "Traceback" not in outcome.err


def test_bad_usage_is_reported(phantoms: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("audit").code == 2
    assert "nowhere" in cli("audit", tmp_path / "nowhere").err
    assert cli("audit", phantoms, "--run", tmp_path).code == 2
    (tmp_path / "labels.csv").write_text("name,class\n")
    assert "labels.csv" in cli("audit", tmp_path).err


@pytest.mark.slow
def test_copies_saved_again_stay_on_one_side_of_the_split(data: Path) -> None:
    for path in files(data, "Normal")[:10]:
        with Image.open(path) as image:
            image.save(path.with_suffix(".jpg"), quality=80)
    data_set = find_data_set(data)
    known = examined(data_set)
    for seed in range(3):
        sides = {item.path: item.part for item in make_split(data_set, known, seed).items}
        for path in files(data, "Normal")[:20]:
            assert sides[f"Normal/{path.stem}.png"] == sides[f"Normal/{path.name}"]
    assert known.doubt(data_set) is None


def test_one_picture_under_two_labels_is_doubted(data: Path) -> None:
    with Image.open(files(data, "Normal")[0]) as image:
        image.save(data / "COVID-19" / "twin.jpg", quality=80)
    data_set = find_data_set(data)
    assert "COVID-19/twin.jpg" in (examined(data_set).doubt(data_set) or "")


def test_near_pairs_are_found_across_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.copies.duplicates._HASH_BLOCK", 7)
    monkeypatch.setattr("cxr_edge.copies.duplicates._PAIR_BLOCK", 3)
    generator = np.random.default_rng(0)
    thumbnail = generator.integers(0, 256, (64, 64)).astype(np.uint8)
    hashes = generator.integers(0, 2**63, 40).astype(np.uint64)
    hashes[33] = hashes[2] ^ np.uint64(2**MAX_DISTANCE - 1)
    hashes[20] = hashes[5] ^ np.uint64(2 ** (MAX_DISTANCE + 1) - 1)
    pairs = near_pairs(hashes, np.stack([thumbnail] * 40))
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(2, 33)]
    assert pairs.correlation[0] == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_phantoms_of_different_seeds_are_no_copies(phantoms: Path) -> None:
    measured = measure_all([path for label in LABELS for path in files(phantoms, label)])
    copies = find_copies(measured)
    assert copies.exact == copies.near == ()
    assert len(set(copies.cluster.tolist())) == len(measured)


def cut(image: Image.Image, margin: int) -> Image.Image:
    box = (margin, margin, image.width - margin, image.height - margin)
    return image.resize(image.size, Image.Resampling.BILINEAR, box=box)


ALTERED = {
    "mirrored": ImageOps.mirror,
    "upside down": ImageOps.flip,
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 180 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_180),
    "mirrored, turned by 90 degrees": lambda image: image.transpose(Image.Transpose.TRANSPOSE),
    "turned by 5 degrees": lambda image: image.rotate(5, Image.Resampling.BILINEAR),
    "shifted": lambda image: image.transform(image.size, Image.Transform.AFFINE, (1, 0, 7, 0, 1, -5)),
    "cropped or zoomed": lambda image: cut(image, 4),
    "mirrored, cropped or zoomed": lambda image: ImageOps.mirror(cut(image, 4)),
}


@pytest.mark.slow
def test_altered_copies_are_found_and_named(data: Path, cli: Cli) -> None:
    expected = {}
    for index, (how, change) in enumerate(ALTERED.items()):
        original = files(data, "Normal")[index]
        with Image.open(original) as image:
            change(image).save(data / "Normal" / f"z{index}.jpg", quality=80)
        expected[frozenset({original.name, f"z{index}.jpg"})] = how
    record = audited(cli, data)
    copies = {
        frozenset(Path(file["path"]).name for file in row["files"]): row["near_pairs"][0]["how"]
        for row in record["copies"]
    }
    assert copies == expected
    assert kinds(record, "warning") == {"near copies"}


@pytest.mark.slow
def test_a_mirrored_copy_is_kept_on_its_side_and_reported_across_parts(
    data: Path, phantoms: Path, tmp_path: Path, cli: Cli
) -> None:
    root = in_parts(phantoms, tmp_path / "parts")
    with Image.open(files(root / "train", "Normal")[0]) as image:
        ImageOps.mirror(image).save(root / "test" / "Normal" / "mirrored.jpg", quality=80)
    page = tmp_path / "page.html"
    record = audited(cli, root, "--strict", "--html", page, code=3)
    assert kinds(record) == {"copies across splits"}
    text = page.read_text().replace("mirrored.jpg", "")
    assert '<td class="text">mirrored, correlation' in text
    assert "mirrored copies are not found" not in text and "Copies that are mirrored" in text

    for path in files(data, "Normal")[:10]:
        with Image.open(path) as image:
            ImageOps.mirror(image).save(path.with_suffix(".jpg"), quality=80)
    data_set = find_data_set(data)
    sides = {item.path: item.part for item in split_of(data_set, 0).items}
    for path in files(data, "Normal")[:20]:
        assert sides[f"Normal/{path.stem}.png"] == sides[f"Normal/{path.name}"]
    with Image.open(files(data, "Normal")[30]) as image:
        ImageOps.mirror(image).save(data / "COVID-19" / "twin.jpg", quality=80)
    data_set = find_data_set(data)
    assert "COVID-19/twin.jpg" in (examined(data_set).doubt(data_set) or "")


@pytest.mark.slow
def test_many_altered_copies_of_one_picture_are_one_cluster(data: Path) -> None:
    with Image.open(files(data, "Normal")[0]) as image:
        for angle in range(-9, 10):
            image.rotate(angle, Image.Resampling.BILINEAR).save(data / "Normal" / f"z{angle}.png")
    paths = [path for label in LABELS for path in files(data, label)]
    cluster = find_copies(measure_all(paths)).cluster
    assert len({int(number) for path, number in zip(paths, cluster, strict=True) if path.name[0] == "z"}) == 1
    assert len(set(cluster.tolist())) == 120


def test_two_images_are_enough_to_see_that_one_is_mirrored(phantoms: Path, tmp_path: Path) -> None:
    first, second, *_ = files(phantoms, "Normal")
    with Image.open(first) as image:
        ImageOps.mirror(image).save(tmp_path / "mirrored.png")
    (pair,) = find_copies(measure_all([first, tmp_path / "mirrored.png"])).near
    assert (pair.first, pair.second, pair.how) == (0, 1, "mirrored")
    assert find_copies(measure_all([first, second])).near == ()
    assert find_copies(measure_all([first])).near == ()


def test_an_alignment_has_the_map(phantoms: Path) -> None:
    with Image.open(files(phantoms, "Normal")[0]) as image:
        original = image.resize((64, 64))
    shifted = original.transform((64, 64), Image.Transform.AFFINE, (1, 0, 3, 0, 1, -2), Image.Resampling.BILINEAR)
    pair = np.stack([np.asarray(original), np.asarray(shifted)])
    alignment = align(pair, np.array([0]), np.array([1]), np.eye(2)[None])
    assert alignment.maps[0] == pytest.approx(np.array([[1, 0, 3], [0, 1, -2]]), abs=0.1)
    assert alignment.correlation[0] > MIN_LOCAL_CORRELATION
    assert what_was_done(alignment.maps) == ["shifted"]
    blank = np.full((2, 64, 64), 9, dtype=np.uint8)
    assert align(blank, np.array([0]), np.array([1]), np.eye(2)[None]).correlation[0] == 0


def test_measurements_of_an_image_and_its_border(tmp_path: Path) -> None:
    pixels = np.full((100, 200), 128, dtype=np.uint8)
    pixels[:20], pixels[:, 150:] = 0, 255
    Image.fromarray(pixels).save(tmp_path / "image.png")
    measurement = measure(tmp_path / "image.png")
    assert isinstance(measurement, Measurement)
    assert (measurement.width, measurement.height, measurement.mode, measurement.format) == (200, 100, "L", "PNG")
    assert measurement.mean == pytest.approx(pixels.mean())
    assert measurement.std == pytest.approx(pixels.std())
    assert measurement.black == pytest.approx(0.15) and measurement.white == pytest.approx(0.25)

    framed = np.random.default_rng(0).integers(0, 256, (100, 100)).astype(np.uint8)
    assert border_share(framed) == 0
    framed[:10], framed[:, 95:] = 7, 7
    assert border_share(framed) == pytest.approx(1 - 0.9 * 0.95)
    assert border_share(np.zeros((9, 9), dtype=np.uint8)) == 1


@pytest.mark.slow
def test_a_record_is_read_as_it_was_written(data: Path, cli: Cli) -> None:
    shutil.copy(files(data, "Normal")[0], data / "COVID-19" / "twin.png")
    (data / "Normal" / "text.png").write_text("no image")
    record = audited(cli, data)
    assert to_json(Audit.from_json(record)) == record
    with pytest.raises(ValueError, match="images"):
        Audit.from_json({**record, "images": "many"})


def test_records_without_a_schema_number_are_read() -> None:
    path = Path(__file__).parents[1] / "benchmarks" / "results" / "radiography-audit.json"
    record = json.loads(path.read_text())
    assert "schema" not in record
    audit = Audit.from_json(record)
    assert (audit.schema, audit.images, audit.dicom_warnings) == (2, 2680, {})
    assert audit.serious and audit.shortcuts[0].verdict == "strong"
    assert to_json(audit) == {**record, "schema": 2, "dicom_warnings": {}}


def test_long_findings_are_wrapped_without_escaped_newlines(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(__file__).parents[1] / "benchmarks" / "results" / "radiography-audit.json"
    audit = Audit.from_json(json.loads(path.read_text()))
    show_audit(audit)
    printed = capsys.readouterr().out
    assert r"\n" not in printed
    assert printed.index("Pictures that are in the data more than once:") < printed.index(audit.findings[0].severity)
    assert max(map(len, printed.splitlines())) <= 100
    for finding in audit.findings:
        assert f"{finding.severity}: {finding.text}" in " ".join(printed.split())
    assert max(len(finding.text) for finding in audit.findings) > 100


@pytest.mark.slow
def test_dicom_tags_are_warned_of_as_in_training(data: Path, cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from tests.test_dicom import written

    generator = np.random.default_rng(0)
    for index in range(2):
        pixels = generator.integers(0, 256, (96, 96)).astype(np.uint8)
        written(data / "Normal" / f"x{index}.dcm", pixels, 8, ViewPosition="LL", Modality="CR")
    page = tmp_path / "page.html"
    record = audited(cli, data, "--html", page)
    assert record["dicom_warnings"] == {"not a frontal view (View Position is LL)": 2}
    assert "DICOM tags" in kinds(record, "warning")
    assert "2 DICOM images: not a frontal view" in page.read_text()


@pytest.mark.slow
def test_the_plus_n_notation_is_explained_where_it_is_printed(data: Path, cli: Cli) -> None:
    assert "+N" not in cli("audit", data).out
    path = files(data, "Normal")[0]
    with Image.open(path) as image:
        image.convert("RGB").save(path)
    printed = cli("audit", data).out
    assert "L +1" in printed and "+N: and N other sizes, modes or types in that class" in printed


def test_dicom_files_are_measured_like_others(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from tests.test_dicom import written

    pixels = np.random.default_rng(0).integers(0, 256, (64, 96)).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    dicom, png = measure_all([written(tmp_path / "IM0001", pixels, 8), tmp_path / "x.png"])
    assert isinstance(dicom, Measurement) and isinstance(png, Measurement)
    assert (dicom.width, dicom.height, dicom.mode, dicom.format) == (96, 64, "MONOCHROME2", "DICOM")
    assert (dicom.mean, dicom.phash) == (png.mean, png.phash)


def test_a_dicom_file_with_a_malformed_tag_is_unreadable_and_stops_nothing(tmp_path: Path) -> None:
    pytest.importorskip("pydicom", reason="pip install 'cxr-edge[dicom]'")
    from tests.test_dicom import written

    pixels = np.random.default_rng(0).integers(0, 256, (64, 96)).astype(np.uint8)
    good = written(tmp_path / "good.dcm", pixels, 8, BodyPartExamined="CHEST")
    bad = tmp_path / "bad.dcm"
    body_part = b"\x18\x00\x15\x00"
    assert body_part + b"CS" in good.read_bytes()
    bad.write_bytes(good.read_bytes().replace(body_part + b"CS", body_part + b"FL"))
    first, second = measure_all([bad, good])
    assert isinstance(first, Unreadable) and first.reason
    assert isinstance(second, Measurement)


def test_letters_near_the_edge_are_marks_and_others_are_not() -> None:
    ramp = np.tile(np.linspace(20, 180, 256), (256, 1)).astype(np.uint8)
    assert count_marks(ramp) == 0
    for place, marks in (((10, 10), 1), ((110, 110), 0)):
        image = Image.fromarray(ramp)
        ImageDraw.Draw(image).text(place, "R", fill=255, font_size=30)
        assert count_marks(np.asarray(image)) == marks


def test_balanced_accuracy_weighs_classes_evenly() -> None:
    targets = np.repeat([0, 1], [90, 10])
    right = targets == 0
    accuracy = balanced_accuracy(right, targets, np.arange(100))
    assert accuracy == Interval(0.5, 0.5, 0.5)
    half = np.arange(100) % 2 == 0
    alone, in_pairs = (
        balanced_accuracy(half, np.zeros(100, dtype=np.int64), np.arange(100) // size) for size in (1, 2)
    )
    assert (alone.low or 0) < 0.5 < (alone.high or 0)
    # Groups that each hold one right and one wrong leave nothing to chance.
    assert in_pairs == Interval(0.5, 0.5, 0.5)
