"""A bundle is trusted only where its manifest and the files it lists agree."""

from __future__ import annotations

import io
import json
import re
import shutil
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from cxr_edge import ArtifactError, Classifier
from cxr_edge.artifacts.artifact import METADATA_ENTRY, read_artifact, read_metadata
from cxr_edge.artifacts.bundle import MANIFEST, REFERENCES, listed_artifacts, read_bundle
from cxr_edge.evaluation.reference_images import checked_reference_files, packed, reference_images, reference_inputs
from cxr_edge.files import sha256_of
from tests.conftest import Cli
from tests.tiny import write_bundle_with_references


@pytest.fixture
def bundle_copy(tiny: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "film.png"
    Image.fromarray(np.arange(80 * 80).reshape(80, 80).astype(np.uint8)).save(path)
    return path


def swap_labels(manifest: dict[str, Any]) -> None:
    manifest["shared"]["labels"].reverse()


def call_everything_covid(manifest: dict[str, Any]) -> None:
    for entry in manifest["artifacts"]:
        entry["operating_point"] = {"label": "COVID-19", "threshold": 0.0, "refer_below": 0.0}


def pass_the_gate(manifest: dict[str, Any]) -> None:
    for entry in manifest["artifacts"]:
        entry["parity"]["accuracy"] = 1.0


@pytest.mark.parametrize(
    ("change", "field"),
    [(swap_labels, "labels"), (call_everything_covid, "operating_point"), (pass_the_gate, "parity")],
)
def test_a_manifest_that_contradicts_its_files_is_refused(
    bundle_copy: Path, cli: Cli, picture: Path, change: Callable[[dict[str, Any]], None], field: str
) -> None:
    path = bundle_copy / MANIFEST
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=f"differ in .*{field}"):
        read_bundle(bundle_copy)
    for opened in (bundle_copy, bundle_copy / "xception-int8.tflite"):
        with pytest.raises(ArtifactError, match=field):
            Classifier.open(opened, "litert")
    result = cli("predict", picture, "--bundle", bundle_copy, "--runtime", "litert")
    assert result.code == 2
    assert field in result.err and "copy the bundle again" in result.err


def field(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one field of a manifest."""

    def change(manifest: dict[str, Any]) -> None:
        place: Any = manifest
        for step in path[:-1]:
            place = place[step]
        place[path[-1]] = value

    return change


FORGED: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "path": (field("artifacts", 0, "file", value="../x.onnx"), "file cannot be ../x.onnx"),
    "escape": (field("artifacts", 0, "file", value="\x1b[2J.onnx"), "file"),
    "hidden": (field("artifacts", 0, "file", value=".x.onnx"), "file"),
    "many": (
        lambda manifest: manifest["artifacts"].extend(
            {**manifest["artifacts"][0], "file": f"{index}.onnx"} for index in range(1000)
        ),
        "artifacts cannot be a list of 1006",
    ),
    "twice": (lambda manifest: manifest["artifacts"].append(manifest["artifacts"][0]), "listed twice"),
    "format": (field("artifacts", 0, "file", value="x.tflite"), "of format onnx"),
    "hash": (field("artifacts", 0, "sha256", value="../../etc/passwd"), "sha256"),
    "no labels": (field("shared", "labels", value=[]), "labels"),
    "same labels": (field("shared", "labels", value=["a", "a", "b"]), "labels"),
    "label": (field("shared", "labels", value=["a", "b\r", "c"]), "labels"),
    "huge images": (field("shared", "contract", "input", "shape", value=["N", 70000, 70000, 1]), "contract"),
    "no shape": (field("shared", "contract", "input", "shape", value=[]), "contract"),
    "temperature": (field("shared", "temperature", value=0.0), "temperature"),
    "verdict": (field("artifacts", 0, "parity", "verdict", value="great"), "parity.verdict"),
    "agreement": (field("artifacts", 0, "parity", "agreement", value=1.5), "parity.agreement"),
    "empty parity": (field("artifacts", 0, "parity", value={}), "parity.runtime"),
    "threshold": (
        field("artifacts", 0, "operating_point", value={"label": "COVID-19", "threshold": -1, "refer_below": 0}),
        "operating_point.threshold cannot be -1",
    ),
    "class": (
        field("artifacts", 0, "operating_point", value={"schema": 2, "sensitive_class": "x"}),
        "operating_point.sensitive_class",
    ),
    "outputs": (
        field("artifacts", 0, "reference_outputs", value={"runtime": "x", "probabilities": [[2.0]], "keras": [[1.0]]}),
        "reference_outputs",
    ),
}


@pytest.mark.parametrize("case", FORGED)
def test_an_invalid_manifest_field_is_refused_and_named(bundle_copy: Path, case: str) -> None:
    path = bundle_copy / MANIFEST
    manifest = json.loads(path.read_text())
    change, message = FORGED[case]
    change(manifest)
    path.write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match=re.escape(message)):
        Classifier.open(bundle_copy)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"schema": 2, "schema": 2}', '{"a": NaN}', '{"schema": 1e999}', '{"schema": 9223372036854775808}',
     "", "[]", "null", '"x"', "\ud800", "{" * 10, " " * (17 << 20)],
    ids=["deep", "doubled", "NaN", "infinite", "long", "empty", "list", "null", "text", "surrogate", "torn", "17 MiB"],
)  # fmt: skip
def test_a_malformed_manifest_is_one_clear_error(bundle_copy: Path, text: str) -> None:
    (bundle_copy / MANIFEST).write_bytes(text.encode("utf-8", "surrogatepass"))
    for opened in (bundle_copy, bundle_copy / "xception-int8.tflite"):
        with pytest.raises(ArtifactError, match=r"manifest\.json: damaged"):
            Classifier.open(opened)


@pytest.mark.parametrize("arguments", [("inspect",), ("evaluate", "--artifact"), ("verify", "--bundle")])
def test_a_bundle_without_artifacts_is_one_clear_error(
    bundle_copy: Path, cli: Cli, picture: Path, arguments: tuple[str, ...]
) -> None:
    path = bundle_copy / MANIFEST
    path.write_text(json.dumps({**json.loads(path.read_text()), "artifacts": []}))
    data = ("--data", picture.parent) if arguments[0] == "evaluate" else ()
    result = cli(*arguments, bundle_copy, *data)
    assert (result.code, "the bundle lists no artifacts" in result.err) == (2, True), result.err


def with_references(folder: Path, content: bytes) -> Path:
    """A bundle whose manifest names some reference inputs; what is inside its files does not matter here."""
    (folder / REFERENCES).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["shared"]["reference_sha256"] = sha256_of(folder / REFERENCES)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    return folder


def array_file(values: bytes, shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """A file of NumPy's, whose header says what it likes."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}}}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + values


def npz(values: bytes, shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
    """A zip of one such file."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("differences.npy", array_file(values, shape, dtype))
    return content.getvalue()


def bomb(name: str, method: int, start: bytes = b"") -> bytes:
    """A zip of 64 MiB in one file, which claims to unpack to a hundred bytes."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.writestr(name, start + bytes(64 << 20))
    content = bytearray(stream.getvalue())
    size = content.rindex(b"PK\x01\x02") + 24
    content[size : size + 4] = (100).to_bytes(4, "little")
    return bytes(content)


METHODS = {"deflate": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}


def long_list() -> bytes:
    """A zip of a third of a megabyte, which lists ten thousand empty files."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("0", b"")
        archive.filelist *= 10_000
    return stream.getvalue()


@contextmanager
def little_memory() -> Iterator[None]:
    """Fails if Python takes more than 50 MB in between."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "content",
    [npz(bytes(1 << 24), (1 << 24, 1, 1, 1)), npz(b"", (45, 71, 71, 1)), npz(bytes(71 * 71), (1, 71, 71, 1), "|O"),
     npz(bytes(71 * 71), (10**9, 71, 71, 1)), npz(b"", ()), b"PK", b"", npz(b"", (1, 71, 71, 1))[:-30],
     # Its deflated stream starts with a block of no known kind.
     (lambda whole, start: whole[:start] + b"\xff" * 20 + whole[start + 20:])(npz(b"", (1, 71, 71, 1)), 45)],
    # Not the bytes, which hold the time of day: workers must agree on the names of tests.
    ids=lambda content: f"{len(content)} bytes",
)  # fmt: skip
def test_invalid_reference_inputs_are_refused_before_they_are_unpacked(bundle_copy: Path, content: bytes) -> None:
    folder = with_references(bundle_copy, content)
    tracemalloc.start()
    with pytest.raises(ArtifactError, match="holds no reference inputs"):
        checked_reference_files(folder)
    assert tracemalloc.get_traced_memory()[1] < 30e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    "header",
    ["(", "-" * 9000 + "1", "{[]: 1}", "{'descr': ',,', 'fortran_order': False, 'shape': (1,)}"],
    ids=["torn", "deep", "list as a key", "unknown type"],
)
def test_reference_inputs_with_a_header_that_is_no_literal_are_refused(bundle_copy: Path, header: str) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("differences.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(ArtifactError, match="holds no reference inputs"):
        checked_reference_files(with_references(bundle_copy, content.getvalue()))


@pytest.mark.parametrize("method", METHODS)
def test_reference_inputs_that_are_a_bomb_are_not_unpacked(bundle_copy: Path, method: str) -> None:
    content = bomb("differences.npy", METHODS[method], array_file(b"", (1, 71, 71, 1)))
    folder = with_references(bundle_copy, content)
    with little_memory(), pytest.raises(ArtifactError, match="holds no reference inputs"):
        checked_reference_files(folder)


def test_more_reference_inputs_than_fit_the_memory_are_refused(bundle_copy: Path) -> None:
    folder = with_references(bundle_copy, npz(b"", (1000, 2048, 2048, 1)))
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["shared"]["contract"]["input"]["shape"] = ["N", 2048, 2048, 1]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="1000 images of 2048 px"):
        checked_reference_files(folder)


@pytest.mark.parametrize("name", [MANIFEST, "xception-int8.onnx", REFERENCES])
def test_a_symbolic_link_in_a_bundle_is_refused(tmp_path: Path, name: str) -> None:
    folder = write_bundle_with_references(tmp_path / "bundle")
    (folder / name).rename(tmp_path / name)
    (folder / name).symlink_to(tmp_path / name)
    read = checked_reference_files if name == REFERENCES else read_bundle
    with pytest.raises(ArtifactError, match="a symbolic link"):
        read(folder)


def test_files_that_are_too_large_are_not_hashed(tmp_path: Path) -> None:
    folder = write_bundle_with_references(tmp_path / "bundle")
    for name in ("xception-int8.onnx", REFERENCES):
        # Sparse: it takes no room, and minutes to read.
        with (folder / name).open("r+b") as file:
            file.truncate(200 << 30)
    with pytest.raises(ArtifactError, match="too large for an artifact"):
        read_bundle(folder)
    with pytest.raises(ArtifactError, match="holds no reference inputs"):
        checked_reference_files(folder)


def test_reference_inputs_are_what_was_packed(tmp_path: Path) -> None:
    images, folder = reference_images(71), write_bundle_with_references(tmp_path / "bundle")
    artifact = listed_artifacts(with_references(folder, packed(images)))[0]
    assert np.array_equal(reference_inputs(artifact).images, images)


def test_metadata_that_would_fill_the_memory_is_not_unpacked(bundle_copy: Path) -> None:
    path = bundle_copy / "xception-int8.tflite"
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(METADATA_ENTRY, b" " * (64 << 20))
    with pytest.raises(ArtifactError, match="unpacks to 67108864 bytes"):
        read_artifact(path)


@pytest.mark.parametrize("method", METHODS)
def test_metadata_that_is_a_bomb_is_not_unpacked(bundle_copy: Path, method: str) -> None:
    path = bundle_copy / "xception-int8.tflite"
    # Of two zips at the end of a file the last counts.
    path.write_bytes(path.read_bytes() + bomb(METADATA_ENTRY, METHODS[method]))
    with little_memory(), pytest.raises(ArtifactError, match="holds no readable cxr-edge metadata"):
        read_metadata(path)


def test_a_zip_with_a_very_long_list_of_files_is_refused_before_the_list_is_read(bundle_copy: Path) -> None:
    path = bundle_copy / "xception-int8.tflite"
    path.write_bytes(path.read_bytes() + long_list())
    with pytest.raises(ArtifactError, match="a zip of 10000 files"):
        read_metadata(path)
    folder = with_references(bundle_copy, long_list())
    with pytest.raises(ArtifactError, match="a zip of 10000 files"):
        checked_reference_files(folder)
