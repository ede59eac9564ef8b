"""`cxr-edge train`: from a data folder to a run with a trained model and its metrics."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge import __version__
from cxr_edge.audit.sources import apart, compare_sources
from cxr_edge.console import progress_bar
from cxr_edge.data.cache import decoded, is_decoded
from cxr_edge.data.decode import refuse
from cxr_edge.data.layouts import MIN_IMAGES_PER_CLASS, PARTS, DataSet, find_data_set
from cxr_edge.data.sources import with_sources
from cxr_edge.data.split import Split, run_split, write_split
from cxr_edge.data.store import DecodedImages, ImageStore
from cxr_edge.errors import DataError, OptionError, RunError, first_line
from cxr_edge.evaluation.metrics import balanced_accuracy, classification_metrics
from cxr_edge.files import replacing, write_json
from cxr_edge.imaging.dicom import warnings_of
from cxr_edge.imaging.rule import RESIZES, STRETCH
from cxr_edge.phantoms.data_set import write_phantoms
from cxr_edge.reporting.html.plots import plot_confusion_matrix, plot_learning_curves
from cxr_edge.runs import Run
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.loop import Batches, Phase, cosine_decay
from cxr_edge.training.splitting import examine, leaks, make_split
from cxr_edge.training.xception import base_layers, build_classifier, check_image_size, load_pretrained

ON_BAD_IMAGE = ("skip", "fail")
PRECISIONS = ("auto", "float32", "mixed_bfloat16", "mixed_float16")


@dataclass(frozen=True)
class TrainOptions:
    """What `run.json` records of a training; see `cxr-edge train --help` for each."""

    data: str | None
    image_size: int
    weights: str
    head_epochs: int
    epochs: int
    batch_size: int
    learning_rate: float
    precision: str
    seed: int
    phantoms: int
    # With defaults, for runs of before there were these.
    resize: str = STRETCH
    on_bad_image: str = "skip"
    include: list[str] = field(default_factory=list)
    hold_out_source: str | None = None
    folds: int | None = None
    fold: int | None = None

    def check(self) -> None:
        """Raises OptionError for a value out of range."""
        check_image_size(self.image_size)
        if self.precision not in PRECISIONS:
            raise OptionError(f"precision {self.precision}: choose one of {', '.join(PRECISIONS)}")
        if self.resize not in RESIZES:
            raise OptionError(f"--resize {self.resize}: choose one of {', '.join(RESIZES)}")
        if self.on_bad_image not in ON_BAD_IMAGE:
            raise OptionError(f"--on-bad-image {self.on_bad_image}: choose one of {', '.join(ON_BAD_IMAGE)}")
        if (self.folds is None) != (self.fold is None):
            raise OptionError("--fold says which of --folds test parts this run has: give that too")
        if self.folds is not None and (self.folds < 2 or not 1 <= (self.fold or 0) <= self.folds):
            raise OptionError(f"--folds {self.folds} --fold {self.fold}: at least 2 folds, the first of which is 1")
        if self.folds is not None and self.hold_out_source is not None:
            raise OptionError("--folds and --hold-out-source both choose the test part; give one of them")
        if self.data is None and (self.include or self.hold_out_source):
            raise OptionError("--include and --hold-out-source need --data")
        for name, least in (("epochs", 1), ("head_epochs", 0), ("batch_size", 2), ("phantoms", 10), ("seed", 0)):
            if getattr(self, name) < least:
                raise OptionError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least {least} is needed")
        if self.seed > 2**31 - 1:
            raise OptionError(f"--seed {self.seed}: at most {2**31 - 1}")
        if not 0 < self.learning_rate < 1:
            raise OptionError(f"--learning-rate {self.learning_rate}: choose one above 0 and below 1")


def default_options(data: str | None, weights: str | None) -> TrainOptions:
    """Defaults: transfer learning for real data, a short training from scratch for the phantoms."""
    weights = weights or ("imagenet" if data else "none")
    transfer = weights != "none"
    return TrainOptions(
        data=data,
        image_size=160 if data else 71,
        weights=weights,
        head_epochs=2 if transfer else 0,
        epochs=8 if transfer else 7,
        batch_size=16,
        learning_rate=2e-4 if transfer else 1e-3,
        precision="auto",
        seed=0,
        phantoms=180,
    )


def _precision_policy(choice: str) -> str:
    # On CPUs with AVX512-BF16, mixed_bfloat16 took 0.52 to 1.01 of float32's time, by size and CPU: no safe
    # default. See benchmarks/training_precision.py.
    if choice != "auto":
        return choice
    return "mixed_float16" if tf.config.list_physical_devices("GPU") else "float32"


def compiled(model: keras.Model) -> Any:
    """The model at inference as one TensorFlow function: uint8 `[N, S, S, 1]` to probabilities, traced once."""
    return tf.function(lambda batch: model(tf.cast(batch, tf.float32), training=False))


def predict_probabilities(
    step: Any, images: NDArray[np.uint8] | DecodedImages, batch_size: int = 32
) -> NDArray[np.float32]:
    """float32 `[N, K]` from uint8 `[N, S, S, 1]`, by a `compiled` model, in batches."""
    parts = []
    for start in range(0, len(images), batch_size):
        batch = np.asarray(images[start : start + batch_size])
        # Padded to one batch shape, so that TensorFlow traces once.
        padded = np.concatenate([batch, np.zeros((batch_size - len(batch), *batch.shape[1:]), batch.dtype)])
        parts.append(np.asarray(step(padded))[: len(batch)])
    return np.concatenate(parts).astype(np.float32)


def validator(
    model: keras.Model, images: NDArray[np.uint8] | DecodedImages, targets: NDArray[np.int64], classes: int
) -> Any:
    """A `Phase.validate` that scores by balanced accuracy, ties broken by cross-entropy."""
    step = compiled(model)

    def validate() -> dict[str, float]:
        probabilities = predict_probabilities(step, images)
        loss = float(-np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-7)).mean())
        predicted = probabilities.argmax(axis=1)
        balanced = balanced_accuracy(targets, predicted, classes)
        return {
            "validation_loss": loss,
            "validation_accuracy": float((predicted == targets).mean()),
            "validation_balanced_accuracy": balanced,
            "score": balanced - 1e-3 * min(loss, 100.0),
        }

    return validate


def class_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float32]:
    """float32 `[K]`: inverse class frequency, mean weight 1 over the images."""
    counts = np.bincount(targets, minlength=classes)
    weights: NDArray[np.float32] = (len(targets) / (classes * np.maximum(counts, 1))).astype(np.float32)
    return weights


def training_batches(split: Split, image_size: int, batch_size: int, seed: int) -> Batches:
    """The training part of a split as one-hot targets weighted by class."""
    targets = split.targets("train")
    classes = len(split.labels)
    return Batches(
        images=decoded(split, "train", image_size),
        targets=np.eye(classes, dtype=np.float32)[targets],
        weights=class_weights(targets, classes)[targets],
        batch_size=batch_size,
        seed=seed,
    )


def load_classifier(run: Run) -> keras.Model:
    """The trained Keras model of a run, in float32. Raises RunError."""
    run.require_model()
    config = run.config()
    model = build_classifier(config["options"]["image_size"], len(config["labels"]))
    try:
        model.load_weights(str(run.model_file))
    except Exception as error:
        raise RunError(f"{run.model_file}: cannot be read ({first_line(error)}); train again") from None
    return model


def find_images(run: Run, options: TrainOptions) -> DataSet:
    """The images that a new run will have: of `options.data`, or phantoms, drawn into its folder.

    Raises:
        OptionError, DataError: before anything is written.
        RunError: the folder holds a run already.
    """
    options.check()
    if run.config_file.exists():
        raise RunError(f"{run.folder}: holds a run already; go on with --resume, or name another folder with --run")
    weights = options.weights
    if weights not in ("imagenet", "none") and not Path(weights).is_file():
        raise OptionError(f"{weights}: no such weights file; --weights takes imagenet, none or an .h5 file")
    if options.data is None:
        with progress_bar("drawing phantoms", 3 * options.phantoms) as bar:
            write_phantoms(run.folder / "phantoms", options.phantoms, seed=options.seed, on_image=bar.tick)
        return find_data_set(run.folder / "phantoms")
    data = with_sources(find_data_set(Path(options.data), include=options.include))
    if options.folds is not None and data.parts():
        raise OptionError(f"--folds: {options.data} comes in parts already; fold a data set that does not")
    return data if options.hold_out_source is None else data.hold_out(options.hold_out_source)


def start_run(run: Run, options: TrainOptions, data: DataSet) -> None:
    """Decode and split the images, and write `run.json` and `split.csv`.

    Raises:
        DataError: images that cannot be used, or too few of them; nothing is written then.
    """
    count, store = len(data.items), ImageStore(options.image_size, options.resize)
    with progress_bar("decoding", count) as bar:
        digests, bad = store.add([data.root / item.path for item in data.items], bar.tick, fingerprints=True)
    if options.on_bad_image == "fail" or len(bad) == count:
        refuse(bad, count, "mend or remove them, or leave them out with --on-bad-image skip")
    skipped = [{"path": data.items[index].path, "reason": reason} for index, reason in bad.items()]
    good = data.without(bad)
    for label, images_left in good.counts().items():
        if bad and images_left < MIN_IMAGES_PER_CLASS:
            raise DataError(
                f"{options.data}, {label}: {images_left or 'no'} images are left, each class needs at least "
                f"{MIN_IMAGES_PER_CLASS}; {len(bad)} of {count} cannot be used, such as {next(iter(bad.values()))}"
            )
    fold = None if options.fold is None or options.folds is None else (options.fold, options.folds)
    examined = examine(good, store.fingerprints([digest for digest in digests if digest]))
    split = replace(make_split(good, examined, options.seed, fold=fold), resize=options.resize)
    sources = [(good.labels[item.label], item.source) for item in good.items]
    write_split(split, run.split_file)
    write_json(
        run.config_file,
        {
            "started": datetime.now(UTC).isoformat(timespec="seconds"),
            "cxr_edge": __version__,
            "labels": list(good.labels),
            "images": good.counts(),
            "images_with_patient": sum(item.patient is not None for item in good.items),
            "patients_doubt": good.patients_doubt,
            "class_folders": good.folders,
            "left_out": list(good.left_out),
            "skipped": skipped,
            "given_parts": good.parts(),
            "leaks": leaks(split),
            "repeated": examined.repeated,
            "doubt": examined.doubt(good),
            "sources_apart": apart(compare_sources(sources, good.labels))[0],
            "dicom_warnings": warnings_of(good.root / item.path for item in good.items),
            "data_sha256": split.data_hash(),
            "options": asdict(options),
        },
    )


def train(run: Run) -> dict[str, Any]:
    """Train a started run, from its last finished epoch if it was interrupted, and write its model and metrics.

    Returns:
        The content of `metrics.json`.

    Raises:
        DataError, RunError, WeightsError.
    """
    config = run.config()
    options = TrainOptions(**config["options"])
    split = run_split(run)
    classes = len(split.labels)
    # A new run's images are decoded already; those of one that is resumed may be no longer.
    for part in (part for part in PARTS if not is_decoded(split, part, options.image_size)):
        with progress_bar(f"decoding {part} images", len(split.part(part))) as bar:
            decoded(split, part, options.image_size, bar.tick)
    batches = training_batches(split, options.image_size, options.batch_size, options.seed)

    policy = _precision_policy(options.precision)
    keras.utils.set_random_seed(options.seed)
    keras.mixed_precision.set_global_policy(policy)
    try:
        # From scratch there are few steps: 0.99 would leave the moving statistics near their start values.
        model = build_classifier(options.image_size, classes, 0.9 if options.weights == "none" else 0.99)
        if options.weights != "none":
            load_pretrained(model, options.weights)
        validation = decoded(split, "validation", options.image_size)
        validate = validator(model, validation, split.targets("validation"), classes)
        history = _fit(model, options, batches, validate, run)
    finally:
        keras.mixed_precision.set_global_policy("float32")

    trained = build_classifier(options.image_size, classes)
    trained.load_weights(str(run.best_weights))
    probabilities = predict_probabilities(compiled(trained), decoded(split, "test", options.image_size))
    metrics = {
        "part": "test",
        "data": "phantoms" if options.data is None else "images",
        "precision_policy": policy,
        **classification_metrics(split.targets("test"), probabilities, split.labels),
    }
    write_json(run.history_file, history)
    write_json(run.metrics_file, metrics)
    plot_learning_curves(history, run.folder / "learning_curves.png")
    plot_confusion_matrix(metrics, run.folder / "confusion_matrix.png")
    # Last: a run with a model is a finished run.
    with replacing(run.model_file) as temporary, warnings.catch_warnings():
        # Keras would have us use .keras, which does not hold every model that .h5 does.
        warnings.simplefilter("ignore", UserWarning)
        trained.save(str(temporary), save_format="h5", include_optimizer=False)
    shutil.rmtree(run.checkpoints)
    return metrics


def _fit(model: keras.Model, options: TrainOptions, batches: Batches, validate: Any, run: Run) -> list[dict[str, Any]]:
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    history: list[dict[str, Any]] = []
    total = (options.head_epochs + options.epochs) * batches.steps
    with progress_bar("training", total) as bar:
        if options.head_epochs:
            for layer in base_layers(model):
                layer.trainable = False
            model.compile(keras.optimizers.Adam(1e-3), loss, weighted_metrics=["accuracy"])
            head = Phase("head", model, model, options.head_epochs, validate)
            history += head.run(batches, run.checkpoints, bar, run.best_weights)
            for layer in base_layers(model):
                layer.trainable = True
        steps = options.epochs * batches.steps
        optimizer = keras.optimizers.Adam(cosine_decay(options.learning_rate, steps, warmup_steps=steps // 20))
        model.compile(optimizer, loss, weighted_metrics=["accuracy"])
        name = "fine-tuning" if options.head_epochs else "training"
        floor = max((row["score"] for row in history), default=-np.inf)
        fine = Phase(name, model, model, options.epochs, validate, floor=floor)
        fine_batches = replace(batches, seed=options.seed + 1)
        history += fine.run(fine_batches, run.checkpoints, bar, run.best_weights)
    return history
