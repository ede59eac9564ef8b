"""How close int8 stays to the float model on images that nothing was tuned on: our files beside other tools'.

    python -m benchmarks.int8_shift --run RUN --data DIR [--data DIR] [--no-peers] [--json FILE]

The run's bundle should hold float32, int8 and int8-ptq in both formats (`cxr-edge export --quantize all`); the other
tools come with `pip install 'cxr-edge[peers]'`, and calibrate on the images that ours were calibrated on. Each file is
compared with the Keras model on the run's test part and on each folder of labelled images. None of these images
influences any choice. Log-odds are those of COVID-19 against Normal, their error that of the images on which the float
model's two best logits are within 3 of each other.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.labelled_folders import read_labelled, require_distinct_names
from benchmarks.peers.build import PEERS, build_peers
from benchmarks.peers.session import peer_session
from cxr_edge import __version__
from cxr_edge.artifacts.bundle import read_bundle, read_manifest
from cxr_edge.console import progress_bar
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.errors import first_line
from cxr_edge.evaluation.logits import FLOOR, INT8_FLOOR, centred_logits, signal_to_noise
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.evaluation.temperature import apply_temperature
from cxr_edge.files import write_json
from cxr_edge.intervals import wilson_interval
from cxr_edge.machine import describe_machine
from cxr_edge.processors import usable_cores
from cxr_edge.records import JsonObject, to_json
from cxr_edge.reporting.terminal.tables import show, show_table
from cxr_edge.runs import Run, find_run
from cxr_edge.runtimes.base import Session, runtime_named, runtimes_for
from cxr_edge.statistics.intervals import mcnemar, paired_difference

#: The float model is unsure of an image where its two best logits are less than this apart, without the temperature.
UNSURE = 3.0
COVID, NORMAL = "COVID-19", "Normal"
#: These are made from the graph itself, whose logits no temperature divides.
_WITHOUT_TEMPERATURE = {"tf2onnx_keras", "tflite_converter"}
#: What a record says of the training; the rest is of its machine.
_TRAINING = {
    *("image_size", "head_epochs", "epochs", "frozen_blocks"),
    *("batch_size", "learning_rate", "precision", "seed", "folds", "fold"),
}


@dataclass(frozen=True)
class ImageSet:
    """Labelled images: uint8 `[N, S, S, 1]`, label indices `[N]`, and the Keras model's probabilities `[N, K]`."""

    name: str
    images: NDArray[np.uint8]
    targets: NDArray[np.integer]
    reference: NDArray[np.float32]


@dataclass(frozen=True)
class File:
    """A quantized file on a runtime."""

    title: str
    runtime: str
    session: Session
    with_temperature: bool


@dataclass(frozen=True)
class Row:
    """How one file compares with the float model on one set of images; shares are of 1, log-odds natural."""

    file: str
    runtime: str
    images_of: str
    images: int
    float_accuracy: float
    accuracy: float
    #: Float less int8, with its 95 % interval.
    drop: float
    drop_low: float | None
    drop_high: float | None
    #: Images that only the float model has right, and only the file.
    lost: int
    won: int
    #: McNemar's, two-sided.
    p_value: float
    #: Sensitivity of each class, by its label: of the float model and of the file.
    float_sensitivity: dict[str, float]
    sensitivity: dict[str, float]
    agreement: float
    agreement_low: float
    signal_to_noise_db: float | None
    unsure_images: int
    log_odds_error_mean: float
    log_odds_error_sd: float


def compared(file: File, images: ImageSet, labels: tuple[str, ...], temperature: float) -> Row:
    """Run a file on a set of images."""
    with progress_bar(f"{file.title} on {images.name}", len(images.images)) as bar:
        probabilities = score_images(file.session, images.images, bar.tick)
    factor = temperature if file.with_temperature else 1.0
    reference = apply_temperature(images.reference, factor)
    expected, top = reference.argmax(axis=1), probabilities.argmax(axis=1)
    float_right, right = expected == images.targets, top == images.targets
    lost, won = int((float_right & ~right).sum()), int((right & ~float_right).sum())
    change = paired_difference(float_right, right)
    # Some tools give probabilities out in 8 bits, whose zeros have no logarithm.
    floor = INT8_FLOOR if probabilities[probabilities > 0].min() >= INT8_FLOOR else FLOOR
    # In units of the float model's own logits.
    reference_logits, logits = (centred_logits(values, floor) * factor for values in (reference, probabilities))
    best = np.sort(reference_logits, axis=1)
    unsure = best[:, -1] - best[:, -2] < UNSURE
    covid, normal = labels.index(COVID), labels.index(NORMAL)
    errors = ((logits - reference_logits)[:, covid] - (logits - reference_logits)[:, normal])[unsure]
    agreement = wilson_interval(int((expected == top).sum()), len(top))
    members = [(label, images.targets == index) for index, label in enumerate(labels)]
    return Row(
        file=file.title,
        runtime=file.runtime,
        images_of=images.name,
        images=len(top),
        float_accuracy=float(float_right.mean()),
        accuracy=float(right.mean()),
        drop=float(float_right.mean() - right.mean()),
        drop_low=None if change.high is None else -change.high,
        drop_high=None if change.low is None else -change.low,
        lost=lost,
        won=won,
        p_value=mcnemar(float_right, right).p_value,
        float_sensitivity={label: float(float_right[rows].mean()) for label, rows in members if rows.any()},
        sensitivity={label: float(right[rows].mean()) for label, rows in members if rows.any()},
        agreement=float((expected == top).mean()),
        agreement_low=agreement.low or 0.0,
        signal_to_noise_db=signal_to_noise(reference, probabilities, floor),
        unsure_images=int(unsure.sum()),
        log_odds_error_mean=float(errors.mean()) if unsure.any() else 0.0,
        log_odds_error_sd=float(errors.std()) if unsure.any() else 0.0,
    )


def image_sets(run: Run, folders: list[Path]) -> list[ImageSet]:
    """The run's test part and the folders' images, each with what the Keras model says."""
    from cxr_edge.training.classifier import compiled, load_classifier, predict_probabilities

    split, size = run_split(run), run.config().options.image_size
    step = compiled(load_classifier(run))
    images = np.asarray(decoded(split, "test", size))
    sets = [ImageSet("own test part", images, split.targets("test"), predict_probabilities(step, images))]
    for folder in folders:
        images, targets = read_labelled(folder, split.labels, size, split.resize)
        sets.append(ImageSet(folder.name, images, targets, predict_probabilities(step, images)))
    return sets


def files_of(run: Run, peers: Path | None) -> list[File]:
    """The run's int8 artifacts, each on its preferred runtime, and the other tools' files, kept in a folder."""
    files = []
    for artifact in read_bundle(run.bundle):
        if artifact.quantization.is_integer:
            runtime = runtimes_for(artifact.format)[0]
            session = runtime.load(artifact.path, usable_cores())
            files.append(File(f"ours: {artifact.quantization} {artifact.format}", runtime.title, session, True))
    if peers is None:
        return files
    reasons = build_peers(run, peers)
    for name, reason in reasons.items():
        show(f"{name}: {reason}")
    for peer in PEERS:
        if peer.name not in reasons:
            try:
                session = peer_session(peer.runtime, peer.path(peers), usable_cores())
            except Exception as error:
                # Whatever a runtime raises about what a tool wrote is reported; the others are measured.
                show(f"{peer.title}: {first_line(error)}")
                continue
            with_temperature = peer.name not in _WITHOUT_TEMPERATURE
            files.append(File(peer.title, runtime_named(peer.runtime).title, session, with_temperature))
    return files


def trained_as(run: Run) -> JsonObject:
    """The options of a run that say how it was trained, for a record."""
    return {name: value for name, value in to_json(run.config().options).items() if name in _TRAINING}


def show_rows(rows: list[Row]) -> None:
    """One table per set of images."""
    for name in dict.fromkeys(row.images_of for row in rows):
        members = [row for row in rows if row.images_of == name]
        first = members[0]
        title = f"{name}: {first.images} images; float {100 * first.float_accuracy:.1f} %"
        columns = ["file", "acc. %", "COVID %", "same %", "lost", "won", "dB", "log-odds", "sd"]
        lines = [
            [
                row.file,
                f"{100 * row.accuracy:.1f}",
                f"{100 * row.sensitivity[COVID]:.1f}" if COVID in row.sensitivity else "-",
                f"{100 * row.agreement:.1f}",
                str(row.lost),
                str(row.won),
                "-" if row.signal_to_noise_db is None else f"{row.signal_to_noise_db:.1f}",
                f"{row.log_odds_error_mean:+.2f}",
                f"{row.log_odds_error_sd:.2f}",
            ]
            for row in members
        ]
        show_table(title, columns, lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--data", type=Path, action="append", default=[], help="labelled images; repeatable")
    parser.add_argument("--no-peers", action="store_true", help="leave the other tools' files out")
    parser.add_argument("--work", type=Path, help="folder of the other tools' files; default: peers/ in the run")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    require_distinct_names(parser, options.data)
    run = find_run(options.run)
    shared = read_manifest(run.bundle).shared
    sets = image_sets(run, options.data)
    files = files_of(run, None if options.no_peers else options.work or run.folder / "peers")
    rows = [compared(file, images, shared.labels, shared.temperature) for images in sets for file in files]
    show_rows(rows)
    if options.json:
        record = {
            "cxr_edge": __version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": to_json(describe_machine()),
            "training": trained_as(run),
            "temperature": shared.temperature,
            "rows": [asdict(row) for row in rows],
        }
        write_json(options.json, record)


if __name__ == "__main__":
    main()
