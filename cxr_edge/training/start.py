"""Start a run from its options: list, decode, examine and split its images."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from cxr_edge import __version__
from cxr_edge.auditing.sources import apart, compare_sources
from cxr_edge.choices import OnBadImage
from cxr_edge.data.decode import refuse
from cxr_edge.data.fingerprint import Fingerprint
from cxr_edge.data.layouts import MIN_IMAGES_PER_CLASS, DataSet, find_data_set
from cxr_edge.data.sources import with_sources
from cxr_edge.data.split import Split, write_split
from cxr_edge.data.store import ImageStore
from cxr_edge.errors import DataError, OptionError, RunError
from cxr_edge.files import write_json
from cxr_edge.imaging.dicom import warnings_of
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.phantoms.drawing import LABELS
from cxr_edge.records import to_json
from cxr_edge.runs import Run
from cxr_edge.runs.config import RunConfig, SkippedImage
from cxr_edge.runs.cross_validation import is_cross_validation
from cxr_edge.runs.lock import locked
from cxr_edge.runs.network import XCEPTION, Network
from cxr_edge.runs.progress import SILENT, Progress
from cxr_edge.train_options import FROM_SCRATCH, TrainOptions
from cxr_edge.training.splitting import Examined, examine, leaks, make_split

#: In the folder of phantoms until the run that draws them has its `run.json`.
UNFINISHED = ".unfinished"


def require_new(run: Run) -> None:
    """Raises RunError if the folder already has a run, or the folds of a cross-validation."""
    content = "a run" if run.config_file.exists() else "folds" if is_cross_validation(run.folder) else None
    if content is not None:
        raise RunError(
            f"{run.folder}: already holds {content}; resume with cxr-edge train --run {run.folder} --resume, or name "
            "another folder with --run"
        )


@contextmanager
def starting(run: Run) -> Iterator[None]:
    """Hold a run that does not exist yet, and remove what the body created if it ends before the first epoch does.

    Raises:
        RunError: the folder already has a run, or another process holds it.
    """
    with locked(run.folder):
        require_new(run)
        created = (
            *(run.config_file, run.split_file, run.start_weights, run.phantoms_folder, run.checkpoints),
            *(run.tensorboard, run.mlflow_run_file),
        )
        new = [path for path in created if not path.exists()]
        try:
            yield
        except BaseException:
            # A finished run has no checkpoints either; a later failure must not remove it.
            if not run.best_weights.exists() and not run.model_file.exists():
                for path in new:
                    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            raise


def start_run(
    run: Run, options: TrainOptions, progress: Progress = SILENT, network: Network | None = None
) -> RunConfig:
    """Find, decode and split the images of a new run, and write `run.json` and `split.csv`.

    Its network is Xception unless another one is passed.

    Raises:
        OptionError, WeightsError: before any image is read.
        DataError: images cannot be used, or are too few.
    """
    options.check()
    data = None if options.data is None else _find_images(Path(options.data), options)
    if data is not None:
        progress.data_found(data)
    _check_weights(options.weights, progress)
    data = data or _draw_phantoms(run, options, progress)
    decoded = _decode(data, options, progress)
    examined = examine(decoded.good, decoded.fingerprints)
    fold = None if options.fold is None or options.folds is None else (options.fold, options.folds)
    split = replace(make_split(decoded.good, examined, options.seed, fold=fold), resize=options.resize)
    config = replace(_described(decoded, examined, split, options), network=network or XCEPTION)
    write_split(split, run.split_file)
    write_json(run.config_file, to_json(config))
    (run.phantoms_folder / UNFINISHED).unlink(missing_ok=True)
    return config


def _find_images(data: Path, options: TrainOptions) -> DataSet:
    images = with_sources(find_data_set(data, include=list(options.include)))
    for item in images.items:
        if not _is_text(item.path):
            raise DataError(f"{data}: the file name {item.path!r} is not UTF-8, as split.csv is; rename it")
    if options.folds is not None and images.parts():
        raise OptionError(f"--folds: {data} is split already; --folds needs data that is not")
    return images if options.hold_out_source is None else images.hold_out(options.hold_out_source)


def _is_text(path: str) -> bool:
    """Whether a file's name is text: Python takes its other bytes for surrogates, which no file can hold."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _draw_phantoms(run: Run, options: TrainOptions, progress: Progress) -> DataSet:
    folder = run.phantoms_folder
    if folder.exists():
        if not (folder / UNFINISHED).exists():
            raise RunError(
                f"{folder}: exists already, and not by a training that was interrupted; name another folder with "
                f"--run, or train on its images with --data {folder}"
            )
        # Those of a start that was killed, perhaps with another seed, would be trained on too.
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    (folder / UNFINISHED).touch()
    with progress.stage("drawing phantoms", len(LABELS) * options.phantoms) as tick:
        write_phantoms(run.phantoms_folder, options.phantoms, seed=options.seed, on_image=partial(tick, ""))
    return find_data_set(run.phantoms_folder)


def _check_weights(weights: str, progress: Progress) -> None:
    """Check that the weights are available: without network, fail before thousands of images are decoded, not after."""
    if weights != FROM_SCRATCH:
        with progress.working("fetching weights"):
            # TensorFlow takes seconds to import, so only after the data is known to exist.
            from cxr_edge.training.xception import pretrained_xception

            pretrained_xception(weights)


@dataclass(frozen=True)
class _Decoded:
    """The usable images, their fingerprints in the order of the items, and the unusable images."""

    good: DataSet
    fingerprints: list[Fingerprint]
    skipped: tuple[SkippedImage, ...]


def _decode(data: DataSet, options: TrainOptions, progress: Progress) -> _Decoded:
    count, store = len(data.items), ImageStore(options.image_size, options.resize)
    with progress.stage("decoding", count) as tick:
        paths = [data.root / item.path for item in data.items]
        digests, bad = store.add(paths, partial(tick, ""), fingerprints=True)
    if options.on_bad_image is OnBadImage.FAIL or len(bad) == count:
        refuse(bad, count, "fix or remove them, or leave them out with --on-bad-image skip")
    good = data.without(bad)
    for label, images_left in good.counts().items():
        if bad and images_left < MIN_IMAGES_PER_CLASS:
            raise DataError(
                f"{options.data}, {label}: images left: {images_left}; each class needs at least "
                f"{MIN_IMAGES_PER_CLASS}; {len(bad)} of {count} cannot be used, such as {next(iter(bad.values()))}"
            )
    skipped = tuple(SkippedImage(data.items[index].path, reason) for index, reason in bad.items())
    return _Decoded(good, store.fingerprints([digest for digest in digests if digest]), skipped)


def _described(decoded: _Decoded, examined: Examined, split: Split, options: TrainOptions) -> RunConfig:
    good = decoded.good
    sources = [(good.labels[item.label], item.source) for item in good.items]
    return RunConfig(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        cxr_edge=__version__,
        labels=good.labels,
        images=good.counts(),
        data_sha256=split.data_hash(),
        options=options,
        images_with_patient=sum(item.patient is not None for item in good.items),
        patients_doubt=good.patients_doubt,
        class_folders=good.folders,
        left_out=tuple(good.left_out),
        skipped=decoded.skipped,
        given_parts=good.parts(),
        leaks=tuple(leaks(split, examined)),
        without_source=0 if options.hold_out_source is None else sum(item.source is None for item in good.items),
        repeated=examined.repeated,
        doubt=examined.doubt(good),
        sources_apart=tuple(apart(compare_sources(sources, good.labels))[0]),
        dicom_warnings=warnings_of(good.root / item.path for item in good.items),
    )
