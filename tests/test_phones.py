"""The phones' own code, without the phones: Kotlin of the Android example on the JVM, Swift of the iOS example."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from cxr_edge.artifacts.bundle import REFERENCES, read_manifest
from cxr_edge.evaluation.operating import REFER, OperatingPoint
from cxr_edge.imaging.decode import resized
from cxr_edge.imaging.rule import RESIZES
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.records import to_json
from tests.artifacts import some_metadata
from tests.tiny import SIZE, drawn_references, write_bundle

ROOT = Path(__file__).parents[1]
CHECKS = Path(__file__).parent / "phones"
KOTLIN = ROOT / "examples" / "android" / "app" / "src" / "main" / "kotlin" / "edge" / "cxr"
SWIFT = ROOT / "examples" / "ios" / "Sources" / "Core"
#: Android's own org.json, for the JVM: Debian's libandroid-json-org-java.
ORG_JSON = Path("/usr/share/java/json-android.jar")
POINT = OperatingPoint("COVID-19", 0.3, 0.6)

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Language:
    """A compiled check, the artifact that its phone takes, and whether it inflates: Swift does on Apple's systems."""

    phone: str
    command: tuple[str, ...]
    artifact: str
    inflates: bool


def compile_kotlin(folder: Path) -> Language:
    compiler, java = shutil.which("kotlinc"), shutil.which("java")
    if compiler is None or java is None or not ORG_JSON.is_file():
        pytest.skip("needs kotlinc, java and Debian's libandroid-json-org-java")
    # With less optimization, compiling takes half the time.
    environment = {**os.environ, "JAVA_OPTS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
    sources = [KOTLIN / "bundle", KOTLIN / "imaging", CHECKS / "Check.kt"]
    jar = folder / "check.jar"
    command = [compiler, "-Werror", "-cp", ORG_JSON, "-include-runtime", "-d", jar, *sources]
    subprocess.run(command, check=True, env=environment)
    run = (java, "-cp", f"{jar}{os.pathsep}{ORG_JSON}", "CheckKt")
    return Language("Android", run, "xception-int8.tflite", inflates=True)


def compile_swift(folder: Path) -> Language:
    compiler = shutil.which("swiftc")
    if compiler is None:
        pytest.skip("needs swiftc")
    sources = [*SWIFT.glob("*.swift"), CHECKS / "main.swift"]
    subprocess.run([compiler, "-warnings-as-errors", "-o", folder / "check", *sources], check=True)
    return Language("iOS", (str(folder / "check"),), "xception-int8.onnx", inflates=False)


COMPILERS = {"Kotlin": compile_kotlin, "Swift": compile_swift}


@pytest.fixture(scope="module", params=sorted(COMPILERS))
def language(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Language:
    return COMPILERS[request.param](tmp_path_factory.mktemp("compiled"))


def pictures() -> Iterator[tuple[NDArray[np.uint8], int, str]]:
    """Phantoms and noise of odd sizes, each with a target size and a resize rule."""
    noise = np.random.default_rng(0)
    for resize in RESIZES:
        for index, (width, height, size) in enumerate(
            [(301, 257, 128), (128, 128, 128), (71, 90, 71), (90, 71, 71), (50, 60, 150), (1, 1, 71), (3, 2, 71),
             (400, 30, 128), (330, 1200, 71), (30, 400, 128), (100, 130, 71), (100, 129, 71), (63, 64, 299)]
        ):  # fmt: skip
            phantom = Image.fromarray(draw_phantom(LABELS[index % 3], index, 96).pixels)
            yield np.asarray(phantom.resize((width, height), Image.Resampling.BICUBIC)), size, resize
            yield noise.integers(0, 256, (height, width), dtype=np.uint8), size, resize


def probabilities() -> NDArray[np.float64]:
    """`[M, 3]`: possible outputs of a model, including thresholds and ties."""
    drawn = np.random.default_rng(1).dirichlet([0.5, 0.5, 0.5], 200)
    edges = [(0.3, 0.6, 0.1), (np.nextafter(0.3, 0), 0.6, 0.1), (0.6, 0.2, 0.2), (0.2, 0.4, 0.4), (0.0, 0.6, 0.6)]
    return np.concatenate([drawn, np.float64(edges)])


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_bundle(tmp_path_factory.mktemp("cases") / "bundle", references=True)
    manifest = json.loads((folder / "manifest.json").read_text())
    for artifact in manifest["artifacts"]:
        artifact["operating_point"] = to_json(POINT)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    for name in ("pictures", "resized", "refused"):
        (folder / name).mkdir()
    for index, (pixels, size, resize) in enumerate(pictures()):
        height, width = pixels.shape
        (folder / "pictures" / f"{index:03}-{width}-{height}-{size}-{resize}").write_bytes(pixels.tobytes())
    np.savetxt(folder / "probabilities", probabilities(), fmt="%.17g")
    for name, change in changes(manifest):
        (folder / "refused" / name).write_text(json.dumps(change))
    return folder


def changes(manifest: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Manifests that a phone must refuse."""
    shared = manifest["shared"]
    yield "a", {**manifest, "schema": 3}
    yield "b", {**manifest, "artifacts": []}
    yield "c", {**manifest, "shared": {**shared, "imaging": {**shared["imaging"], "filter": "lanczos"}}}
    yield "d", {**manifest, "shared": {**shared, "imaging": {**shared["imaging"], "resize": "crop"}}}


@pytest.fixture(scope="module")
def answers(language: Language, cases: Path) -> dict[str, list[str]]:
    """What the phone's code prints, by topic; it also writes its resized pixels to the folder of `cases`."""
    with np.load(cases / REFERENCES) as packed:
        arrays = dict(packed)
    (np.savez_compressed if language.inflates else np.savez)(cases / REFERENCES, **arrays)
    completed = subprocess.run([*language.command, cases], capture_output=True, text=True, check=True)
    topics: dict[str, list[str]] = {}
    for line in completed.stdout.splitlines():
        topic, _, answer = line.partition("\t")
        topics.setdefault(topic, []).append(answer)
    return topics


@pytest.mark.usefixtures("answers")
def test_resized_pixels_are_those_of_imaging(cases: Path) -> None:
    names = sorted(os.listdir(cases / "pictures"))
    for name, (pixels, size, resize) in zip(names, pictures(), strict=True):
        expected = resized(Image.fromarray(pixels), size, resize)
        assert (cases / "resized" / name).read_bytes() == expected.tobytes(), name


def test_luma_is_that_of_pillow(answers: dict[str, list[str]]) -> None:
    assert answers["luma"] == [str(Image.new("RGB", (1, 1), (0x0A, 0x80, 0xFF)).convert("L").getpixel((0, 0)))]


def test_orientation_is_that_of_exif(language: Language, answers: dict[str, list[str]]) -> None:
    if language.phone == "Android":
        pytest.skip("Android turns pictures itself")
    expected = []
    for orientation in range(1, 9):
        grey = Image.fromarray(np.uint8([[1, 2, 3], [4, 5, 6]]))
        grey.getexif()[0x0112] = orientation
        turned = np.asarray(ImageOps.exif_transpose(grey))
        expected.append(f"{turned.shape[1]}\t{turned.shape[0]}\t{turned.ravel().tolist()}")
    assert answers["turned"] == expected


def test_decisions_are_those_of_the_rule(cases: Path, answers: dict[str, list[str]]) -> None:
    labels = read_manifest(cases).shared.labels
    called, referred = POINT.decide(probabilities(), labels)
    expected = [REFER if refer else labels[at] for at, refer in zip(called, referred, strict=True)]
    assert {REFER, *labels} == set(expected)
    assert answers["decision"] == expected


def test_reference_inputs_are_those_of_the_bundle(cases: Path, answers: dict[str, list[str]]) -> None:
    assert (cases / "references").read_bytes() == drawn_references().tobytes()
    recorded = next(entry.reference_outputs for entry in read_manifest(cases).artifacts if entry.reference_outputs)
    (images, difference, passed) = answers["replay"][0].split("\t")
    assert (int(images), passed) == (len(drawn_references()), "false")
    assert float(difference) == pytest.approx(np.abs(np.array(recorded.probabilities) - 1 / 3).max(), abs=1e-12)


def test_manifest_is_read_and_unsupported_values_are_refused(language: Language, answers: dict[str, list[str]]) -> None:
    phantoms = "true" if some_metadata().training.data == "phantoms" else "false"
    assert answers["model"] == [f"{language.artifact}\t{SIZE}\tstretch\t{phantoms}"]
    words = [f"no images of {SIZE + 1} px", "schema 3", "no int8 artifact", "luma-601, lanczos", "unknown resize crop"]
    if language.phone == "Android":
        words.insert(0, "is not the file that manifest.json describes")
    assert len(answers["refused"]) == len(words)
    assert all(word in reason for word, reason in zip(words, answers["refused"], strict=True)), answers["refused"]
