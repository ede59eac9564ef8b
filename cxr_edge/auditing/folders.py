"""Find what to audit: class folders, class folders within split folders, a table of labels, or a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from cxr_edge.data.layouts import UnknownClassesError, find_data_set
from cxr_edge.data.sources import with_sources
from cxr_edge.data.split import run_split
from cxr_edge.errors import DataError
from cxr_edge.runs import Run

LABEL_TABLE = "labels.csv"


@dataclass(frozen=True)
class Image:
    """One image file: its path below the folder, its label, and its part of the split, patient and source, if known."""

    path: str
    label: str
    part: str = ""
    patient: str = ""
    source: str = ""


@dataclass(frozen=True)
class Collection:
    """The images of a folder, its labels in order, how they were found, and the folders that were skipped."""

    root: Path
    labels: tuple[str, ...]
    images: tuple[Image, ...]
    layout: str
    left_out: tuple[str, ...] = ()


def find_images(root: Path | None, run: Run | None) -> Collection:
    """The images below a folder, with the split of the run, if any.

    Args:
        root: whatever `train --data` takes, or a folder with a `labels.csv` (`path,label`). None for the run's data.
        run: the run whose `split.csv` lists the parts.

    Raises:
        DataError: there is no such folder, there are no images, or a table cannot be read.
        RunError: not a run folder.
    """
    if root is None:
        if run is None:
            raise DataError("name a folder of images, or a run with --run")
        split, sources = run_split(run), _sources(run)
        images = tuple(
            Image(item.path, item.label, item.part, item.patient, sources.get(item.path, "")) for item in split.items
        )
        return Collection(split.root, split.labels, images, "the split of a run")
    table = root / LABEL_TABLE
    data = with_sources(find_data_set(table if table.is_file() else root, least=1))
    images = tuple(
        Image(item.path, data.labels[item.label], item.part or "", item.patient or "", item.source or "")
        for item in data.items
    )
    layout = "class folders" if root.is_dir() and not table.is_file() else "table"
    collection = Collection(data.root, data.labels, images, layout, data.left_out)
    if run is None:
        return collection
    known = {item.path: item.part for item in run_split(run).items}
    if not any(image.path in known for image in collection.images):
        raise DataError(f"{root}: none of its images is in the split of {run.folder}; leave one of the two out")
    images = tuple(replace(image, part=known.get(image.path, "")) for image in collection.images)
    return replace(collection, images=images, layout=f"{collection.layout}, split of a run")


def _sources(run: Run) -> dict[str, str]:
    """The source of each image of a run's data by its path, where one is known: `split.csv` has none."""
    config = run.config()
    if config.options.data is None:
        return {}
    folder = Path(config.options.data)
    # With labels, DICOM files are not read for their patients, whom `split.csv` names.
    try:
        data = find_data_set(folder, config.labels)
    except UnknownClassesError as error:
        # A class was added since.
        data = find_data_set(folder, (*config.labels, *error.unknown))
    data = with_sources(data)
    return {item.path: item.source for item in data.items if item.source}
