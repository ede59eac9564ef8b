"""Does the page agree with the package? `python -m benchmarks.web_answers --bundle BUNDLE --data DIR [--data DIR]`.

Images of the folders, as many of each as it has or an equal share of --images, and JPEG copies of those that are PNG
files are given to the page in headless Chromium and to the package's own classifier, with the bundle's best int8 ONNX
file. Compared are the decoded pixels, the pixels that the model takes (from the page's code in Node.js), the decoded
pixels of the browser's own decoder, which the page does without, and the answers. Needs the page that `make web`
builds, Node.js and Chromium.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.web_speed import USER, int8_of, programs, served
from cxr_edge import __version__
from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.data.layouts import find_data_set
from cxr_edge.errors import ArtifactError, CxrEdgeError
from cxr_edge.files import write_json
from cxr_edge.imaging.decode import open_grey, resized
from cxr_edge.machine import describe_machine
from cxr_edge.prediction.classifier import Classifier
from cxr_edge.prediction.prediction import Prediction, SkippedImage
from cxr_edge.records import to_json
from cxr_edge.reporting.terminal.tables import show_table
from cxr_edge.web.folder import write_page
from cxr_edge.web.page import built_page

PIXELS = USER.with_name("pixels.mjs")
#: Of the JPEG copies.
QUALITY = 90
_READ = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}
COPIES = "JPEG copies"


@dataclass(frozen=True)
class Case:
    """A file, and the kind whose row it counts in."""

    file: Path
    kind: str


@dataclass(frozen=True)
class Seen:
    """What the page showed of a file: the SHA-256 of its decoded grey pixels, how far those of the browser's own
    decoder are from them, and the answer of `results.json`; Nones and no answer for a file that it refused."""

    sha256: str | None
    decoder_largest: int | None
    decoder_mean: float | None
    row: dict[str, Any] | None


@dataclass(frozen=True)
class Row:
    """How the page and the package compare on files of a kind."""

    files: str
    images: int
    #: Both have no answer.
    refused: int
    same_decoded: int
    same_resized: int
    same_top: int
    same_decision: int
    #: Of files whose most probable class differs: the largest margin between the package's two best probabilities.
    margin_where_top_differs: float | None
    largest_difference: float
    mean_difference: float
    #: Files of which the browser's own decoder gives the same pixels, and how far it is from them on the others.
    browser_decoder_same: int
    browser_decoder_largest: int
    browser_decoder_mean: float


def some_images(folders: Sequence[Path], count: int, seed: int) -> list[Path]:
    """An equal share of each folder's PNG and JPEG files, whatever their classes; all of a folder that has fewer."""
    random, selected = np.random.default_rng(seed), list[Path]()
    pools = []
    for folder in folders:
        data = find_data_set(folder)
        files = [data.root / item.path for item in data.items]
        pools.append([file for file in files if file.suffix.lower() in _READ])
    for index, pool in enumerate(sorted(pools, key=len)):
        share = (count - len(selected)) // (len(pools) - index)
        places = random.permutation(len(pool))[:share]
        selected += [pool[place] for place in sorted(places.tolist())]
    return selected


def cases_in(folder: Path, images: Sequence[Path]) -> list[Case]:
    """The images under names of their own, by their number, and a JPEG copy of each PNG file."""
    own, copies = [], []
    for index, image in enumerate(images):
        kind = _READ[image.suffix.lower()]
        file = folder / f"{index:04d}{image.suffix.lower()}"
        shutil.copyfile(image, file)
        own.append(Case(file, kind))
        if kind == "PNG":
            copy = folder / f"{index:04d}-copy.jpg"
            open_grey(image).save(copy, quality=QUALITY)
            copies.append(Case(copy, COPIES))
    return own + copies


def shown(artifact: Artifact, cases: Sequence[Case], folder: Path, node: str, chromium: str) -> tuple[list[Seen], str]:
    """What the page showed, and the browser's version; `folder` is one to work in.

    Raises:
        ArtifactError: the page could not be used.
    """
    write_page(built_page(), (artifact,), folder / "page")
    task = {"chromium": chromium, "steps": ["load", "pick", "pixels"], "files": [str(case.file) for case in cases]}
    with served(folder / "page") as url:
        (folder / "task.json").write_text(json.dumps({**task, "url": url, "downloads": str(folder)}))
        done = subprocess.run([node, str(USER), str(folder / "task.json")], capture_output=True, text=True)
    if done.returncode:
        raise ArtifactError(f"{artifact.path}: the page could not be used: {done.stderr.strip()}")
    seen = json.loads(done.stdout)
    rows = {row["file"]: row for row in json.loads((folder / "results.json").read_text())["rows"]}
    files = [
        Seen(pixels["sha256"], pixels["largest"], pixels["mean"], rows[case.file.name])
        if pixels
        else Seen(None, None, None, None)
        for case, pixels in zip(cases, seen["pixels"], strict=True)
    ]
    return files, seen["browser"]


def resized_by_page(artifact: Artifact, cases: Sequence[Case], folder: Path, node: str) -> list[bytes | None]:
    """The pixels that the model takes, by the page's code; None of a file that it does not decode."""
    size, resize = artifact.image_size, artifact.metadata.imaging.resize
    requests = [{"file": str(case.file), "size": size, "resize": resize} for case in cases]
    (folder / "cases.json").write_text(json.dumps(requests))
    subprocess.run([node, str(PIXELS), str(folder / "cases.json"), str(folder / "pixels")], check=True)
    answers = [json.loads(line) for line in (folder / "pixels").read_text().splitlines()]
    return [base64.b64decode(answer["model"]) if "model" in answer else None for answer in answers]


def compared(
    kind: str,
    artifact: Artifact,
    files: Sequence[tuple[Case, Seen, bytes | None, Prediction | SkippedImage]],
) -> Row:
    """A row of the files of one kind.

    Raises:
        ArtifactError: only one of the two refused a file.
    """
    answered = []
    for case, seen, model_input, answer in files:
        if (seen.row is None) is not isinstance(answer, SkippedImage):
            raise ArtifactError(f"{case.file}: refused by one of the page and the package, and answered by the other")
        if isinstance(answer, Prediction) and seen.row is not None:
            answered.append((case, seen, model_input, answer, seen.row))
    resize = artifact.metadata.imaging.resize
    differences, same_decoded, same_resized = [], 0, 0
    for case, seen, model_input, answer, row in answered:
        grey = open_grey(case.file)
        same_decoded += seen.sha256 == hashlib.sha256(np.asarray(grey).tobytes()).hexdigest()
        same_resized += model_input == resized(grey, artifact.image_size, resize).tobytes()
        differences.append(np.abs(np.subtract(row["probabilities"], answer.probabilities)).max())
    others = [seen for _, seen, *_ in answered if seen.decoder_largest]
    margins = [_margin(answer) for *_, answer, row in answered if row["label"] != answer.label]
    return Row(
        files=kind,
        images=len(answered),
        refused=len(files) - len(answered),
        same_decoded=same_decoded,
        same_resized=same_resized,
        same_top=len(answered) - len(margins),
        same_decision=sum(row.get("decision") == answer.decision for *_, answer, row in answered),
        margin_where_top_differs=max(margins, default=None),
        largest_difference=float(max(differences, default=0.0)),
        mean_difference=float(np.mean(differences)) if differences else 0.0,
        browser_decoder_same=sum(seen.decoder_largest == 0 for _, seen, *_ in answered),
        browser_decoder_largest=max((seen.decoder_largest or 0 for seen in others), default=0),
        browser_decoder_mean=float(np.mean([seen.decoder_mean for seen in others])) if others else 0.0,
    )


def _margin(answer: Prediction) -> float:
    second, first = sorted(answer.probabilities)[-2:]
    return first - second


def measured(artifact: Artifact, images: Sequence[Path], folder: Path, node: str, chromium: str) -> dict[str, Any]:
    """The record: a row for each kind of file."""
    (folder / "files").mkdir()
    cases = cases_in(folder / "files", images)
    seen, browser = shown(artifact, cases, folder, node, chromium)
    model_inputs = resized_by_page(artifact, cases, folder, node)
    classifier = Classifier.open(artifact.path, "onnx")
    answers = list(classifier.stream([case.file for case in cases]))
    files = list(zip(cases, seen, model_inputs, answers, strict=True))
    kinds = sorted({case.kind for case in cases}, key=["PNG", "JPEG", COPIES].index)
    rows = [compared(kind, artifact, [own for own in files if own[0].kind == kind]) for kind in kinds]
    return {
        "cxr_edge": __version__,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": to_json(describe_machine()),
        "browser": browser,
        "artifact": artifact.name,
        "image_size": artifact.image_size,
        "jpeg_quality": QUALITY,
        "rows": [asdict(row) for row in rows],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--data", type=Path, action="append", required=True, help="labelled images; repeatable")
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    node, chromium = programs()
    with tempfile.TemporaryDirectory() as folder:
        try:
            images = some_images(arguments.data, arguments.images, arguments.seed)
            record = measured(int8_of(arguments.bundle), images, Path(folder), node, chromium)
        except CxrEdgeError as error:
            sys.exit(f"error: {error}")
    rows = record["rows"]
    show_table("The page beside the package", list(rows[0]), [list(map(str, row.values())) for row in rows])
    if arguments.json:
        write_json(arguments.json, record)


if __name__ == "__main__":
    main()
