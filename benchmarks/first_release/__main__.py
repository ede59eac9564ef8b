"""The images behind the printed tables, picked from a copy of the COVID-19 Radiography Database's second release.

    python -m benchmarks.first_release DATABASE OUT [--seed N]

The tables were measured on a part of it in the class sizes of the first release: 219 COVID-19, 1341 Normal, 1120 Viral
Pneumonia. `images.csv` lists them: the path in the database, the perceptual hash of the picture and, where the patient
is known, a number that images of one patient share and that says nothing else. A file whose picture is another is
refused; hashes are of pictures, so that a copy of another size or format will do. With a seed, as many of each class
are drawn anew instead.

The database itself is at https://www.kaggle.com/datasets/tawsifurrahman/covid19-radiography-database, on the terms that
stand there.
"""

from __future__ import annotations

import argparse
import csv
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cxr_edge.data.fingerprint import perceptual_hash
from cxr_edge.data.layouts import IMAGE_SUFFIXES
from cxr_edge.errors import CxrEdgeError, DataError, unusable
from cxr_edge.files import new_folder
from cxr_edge.imaging.decode import open_grey

LIST = Path(__file__).with_name("images.csv")
#: Bits of a hash that a copy of another size or format may differ in.
MOST_BITS = 6
PATIENTS = "patients.csv"


@dataclass(frozen=True)
class Listed:
    """An image of the list; `hash` is None of one that was drawn."""

    path: str
    hash: int | None
    patient: str


def read_list(path: Path = LIST) -> list[Listed]:
    """The images of the tables."""
    with path.open(encoding="utf-8", newline="") as file:
        return [Listed(row["path"], int(row["phash"], 16), row["patient_id"]) for row in csv.DictReader(file)]


def drawn(database: Path, sizes: dict[str, int], seed: int) -> list[Listed]:
    """As many images of each class folder, by a seed. Raises DataError where a class has fewer."""
    images = []
    for folder, count in sorted(sizes.items()):
        paths = sorted(path for path in _folder(database, folder).iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
        if len(paths) < count:
            raise DataError(f"{database / folder}: {len(paths)} images, of which {count} were to be drawn")
        picked = random.Random(f"{seed} {folder}").sample([path.name for path in paths], count)
        images += [Listed(f"{folder}/images/{name}", None, "") for name in sorted(picked)]
    return images


def write(database: Path, images: Sequence[Listed], target: Path) -> None:
    """Write the images in the database's own layout, and `patients.csv`.

    Raises:
        DataError: an image is missing, or its picture is another than the listed one.
        OptionError: the target is there already.
    """
    wrong = []
    with new_folder(target) as folder:
        for image in images:
            listed = PurePosixPath(image.path)
            source = _folder(database, listed.parts[0]) / listed.name
            if not source.is_file():
                wrong.append(f"{source}: is not there")
                continue
            if image.hash is not None and (perceptual_hash(open_grey(source)) ^ image.hash).bit_count() > MOST_BITS:
                wrong.append(f"{source}: shows another picture than the one that was measured on")
                continue
            (folder / listed.parent).mkdir(parents=True, exist_ok=True)
            _link(source, folder / listed)
        if wrong:
            raise unusable(wrong, len(images), "name a copy of the database's second release")
        if known := [image for image in images if image.patient]:
            with (folder / PATIENTS).open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file, lineterminator="\n")
                writer.writerows([("path", "patient_id"), *((image.path, image.patient) for image in known)])


def _folder(database: Path, name: str) -> Path:
    """A class folder's images: the second release has them in a folder beside their masks. Raises DataError."""
    for folder in (database / name / "images", database / name):
        if folder.is_dir():
            return folder
    raise DataError(f"{database / name}: no such folder; name the one that holds COVID, Normal and Viral Pneumonia")


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        # Another file system, or one without links.
        shutil.copyfile(source, target)


def main() -> int:
    """Parse the command line and write; the exit status."""
    parser = argparse.ArgumentParser(description="Pick the images of the printed tables from the public database.")
    parser.add_argument("database", type=Path, help="folder that holds COVID, Normal and Viral Pneumonia")
    parser.add_argument("out", type=Path, help="new folder to write")
    parser.add_argument(
        "--seed", type=int, metavar="N", help="draw a new sample of the same size, instead of the recorded one"
    )
    options = parser.parse_args()
    try:
        images = read_list()
        if options.seed is not None:
            sizes = Counter(PurePosixPath(image.path).parts[0] for image in images)
            images = drawn(options.database, sizes, options.seed)
        write(options.database, images, options.out)
    except CxrEdgeError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    counts = Counter(PurePosixPath(image.path).parts[0] for image in images)
    print(f"{options.out}: {', '.join(f'{label} {count}' for label, count in counts.items())}")
    print(f"next: cxr-edge train --data {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
