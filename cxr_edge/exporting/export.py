"""`cxr-edge export`: artifacts of a run, verified against its Keras model, in its bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge import __version__, imaging
from cxr_edge.bundle import MANIFEST, NOTICE, Artifact, contract, read_artifact, read_manifest, write_manifest
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.errors import ArtifactError, GateError, OptionError
from cxr_edge.evaluation.parity import Gate, parity
from cxr_edge.evaluation.scoring import score_images
from cxr_edge.exporting.metadata import with_metadata
from cxr_edge.files import replacing, sha256_of, write_json
from cxr_edge.inspection.operators import computation_of
from cxr_edge.machine import package_versions, usable_cores
from cxr_edge.quantization.build import on_grid
from cxr_edge.quantization.calibrate import PERCENTILE, choose_ranges, collect_histograms
from cxr_edge.quantization.finetune import FineTuneOptions, fine_tune, load_kernels, save_kernels
from cxr_edge.quantization.graph import Graph, fold
from cxr_edge.quiet import quiet
from cxr_edge.reporting.progress import progress_bar, working
from cxr_edge.reporting.tables import show
from cxr_edge.runs import Run
from cxr_edge.runtimes.base import runtimes_for
from cxr_edge.training.train import compiled, load_classifier, predict_probabilities, training_batches

FORMATS = ("tflite", "onnx")
QUANTIZATIONS = ("none", "fp16", "int8", "int8-ptq")
CALIBRATION_IMAGES = 256
CALIBRATION_METHOD = f"percentile {PERCENTILE}"
CALIBRATION_BATCH = 8
#: Stem of every artifact's file name.
NAME = "xception"


@dataclass(frozen=True)
class ExportOptions:
    """What to write and how the int8 fine-tuning is done."""

    formats: tuple[str, ...]
    quantizations: tuple[str, ...]
    fine_tuning: FineTuneOptions
    gate: Gate

    def check(self) -> None:
        """Raises OptionError for an unknown format or quantization, or a number out of range."""
        for given, known, what in (
            (self.formats, FORMATS, "format"),
            (self.quantizations, QUANTIZATIONS, "quantization"),
        ):
            for name in given:
                if name not in known:
                    raise OptionError(f"{what} {name}: choose one of {', '.join(known)} or all")
        if self.fine_tuning.epochs < 1 or not 0 < self.fine_tuning.learning_rate < 1:
            raise OptionError("--qat-epochs takes 1 and more, --qat-learning-rate a number above 0 and below 1")
        self.gate.check()


class Exporter:
    """Makes a run's artifacts; what several of them need is made once."""

    def __init__(self, run: Run, options: ExportOptions) -> None:
        self.run, self.options = run, options
        self.config = run.config()
        self.image_size = int(self.config["options"]["image_size"])
        self.split = run_split(run)
        self.model = load_classifier(run)
        self.graph = fold(self.model)
        self.model_hash = sha256_of(run.model_file)
        self._ranges: dict[str, tuple[float, float]] | None = None
        self._float: bytes | None = None
        self._int8: dict[str, bytes] = {}

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Calibrated activation ranges, from a seeded choice of training images; kept, and reused by later exports.

        Reused, so that the files of several exports hold the same integers.
        """
        if self._ranges is None:
            self._ranges = self._kept_ranges()
        if self._ranges is None:
            calibration = self.calibration_images()
            batches = 2 * -(-len(calibration) // CALIBRATION_BATCH)
            with progress_bar("calibrating", batches) as bar:
                histograms = collect_histograms(self.graph, calibration, CALIBRATION_BATCH, bar.tick)
            self._ranges = choose_ranges(histograms)
            write_json(self.calibration_file, {**self._calibration_key(), "ranges": self._ranges})
        return self._ranges

    def calibration_images(self) -> NDArray[np.uint8]:
        """uint8 `[N, S, S, 1]`: the seeded choice of training images that ranges are calibrated on."""
        images = decoded(self.split, "train", self.image_size)
        chosen = np.random.default_rng(0).permutation(len(images))[:CALIBRATION_IMAGES]
        return np.asarray(images[np.sort(chosen)])

    @property
    def calibration_file(self) -> Path:
        return self.run.quantized / "calibration.json"

    def _calibration_key(self) -> dict[str, Any]:
        images = min(CALIBRATION_IMAGES, len(self.split.part("train")))
        return {"images": images, "method": CALIBRATION_METHOD, "model": self.model_hash, "cxr_edge": __version__}

    def _kept_ranges(self) -> dict[str, tuple[float, float]] | None:
        try:
            kept = json.loads(self.calibration_file.read_text(encoding="utf-8"))
            ranges = kept.pop("ranges")
            return (
                {name: (low, high) for name, (low, high) in ranges.items()} if kept == self._calibration_key() else None
            )
        except (OSError, ValueError, KeyError, TypeError):
            # None yet, or damaged: calibrating again costs a minute.
            return None

    def fine_tuned(self) -> Graph:
        """The graph after quantization-aware fine-tuning: kept, and reused by later exports with the same options."""
        found = self.kept_fine_tuned()
        if found is not None:
            return found
        options, key = self.options.fine_tuning, self._fine_tuning_key()
        ranges = self.ranges()
        trained = self.config["options"]
        batches = training_batches(self.split, self.image_size, trained["batch_size"], trained["seed"] + 2)
        validation = np.asarray(decoded(self.split, "validation", self.image_size))
        checkpoints = self.run.quantized / "checkpoints"
        with progress_bar("quantization-aware fine-tuning", options.epochs * batches.steps) as bar:
            graph, rows = fine_tune(self.graph, ranges, batches, validation, options, key, checkpoints, bar)
        write_json(self.run.quantized / "history.json", rows)
        save_kernels(graph, self.kernels_file, key)
        shutil.rmtree(checkpoints)
        return graph

    def kept_fine_tuned(self) -> Graph | None:
        """What an earlier export fine-tuned with the same options; None where there is no such thing."""
        return load_kernels(self.graph, self.kernels_file, self._fine_tuning_key())

    @property
    def kernels_file(self) -> Path:
        return self.run.quantized / "int8.npz"

    def _fine_tuning_key(self) -> dict[str, Any]:
        return {"model": self.model_hash, "cxr_edge": __version__, **asdict(self.options.fine_tuning)}

    def float32_tflite(self) -> bytes:
        from cxr_edge.exporting.tflite import float_tflite

        if self._float is None:
            with _step("converting none to TFLite"):
                self._float = float_tflite(self.graph)
        return self._float

    def int8_tflite(self, quantization: str) -> bytes:
        from cxr_edge.exporting.tflite import int8_tflite

        if quantization not in self._int8:
            graph = self.fine_tuned() if quantization == "int8" else self.graph
            ranges = self.ranges()
            with _step(f"converting {quantization} to TFLite"):
                self._int8[quantization] = int8_tflite(on_grid(graph), ranges)
        return self._int8[quantization]

    def model_bytes(self, kind: str, quantization: str) -> bytes:
        """The content of an artifact, without its metadata."""
        from cxr_edge.exporting.lowering import lower_to_onnx
        from cxr_edge.exporting.onnx_float import float_onnx
        from cxr_edge.exporting.tflite import float_tflite

        int8, half = quantization.startswith("int8"), quantization == "fp16"
        if kind == "tflite":
            if int8:
                return self.int8_tflite(quantization)
            if not half:
                return self.float32_tflite()
            with _step("converting fp16 to TFLite"):
                return float_tflite(self.graph, half=True)
        tflite = self.int8_tflite(quantization) if int8 else self.float32_tflite()
        with _step(f"converting {quantization} to ONNX"):
            model = lower_to_onnx(tflite) if int8 else float_onnx(tflite, half)
            return bytes(model.SerializeToString())

    def shared_metadata(self) -> dict[str, Any]:
        """What the metadata of all artifacts of this run have in common. No date: equal exports are equal bytes."""
        config = self.config
        return {
            "notice": NOTICE,
            "cxr_edge": __version__,
            "labels": list(self.split.labels),
            "contract": contract(self.image_size, len(self.split.labels)),
            "imaging": imaging.RULE,
            "training": {
                "data": "phantoms" if config["options"]["data"] is None else "images",
                "images": config["images"],
                "data_sha256": config["data_sha256"],
                "model_sha256": self.model_hash,
                "started": config["started"],
            },
        }

    def calibration(self, quantization: str) -> dict[str, Any] | None:
        """How an int8 artifact came by its integers; None for a float one."""
        if not quantization.startswith("int8"):
            return None
        key = self._calibration_key()
        described: dict[str, Any] = {"images": key["images"], "method": key["method"]}
        if quantization == "int8":
            described["fine_tuning"] = asdict(self.options.fine_tuning)
        return described

    def export(self) -> list[Artifact]:
        """Write and verify every wanted artifact.

        Returns:
            The artifacts written now; a failed gate is in their `parity`, and raises nothing here.

        Raises:
            MissingDependencyError: no runtime to verify a format with.
        """
        runtimes = {kind: runtimes_for(kind)[0] for kind in self.options.formats}
        images = np.asarray(decoded(self.split, "test", self.image_size))
        targets = self.split.targets("test")
        reference = predict_probabilities(compiled(self.model), images)
        shared = self.shared_metadata()
        written = []
        for quantization in self.options.quantizations:
            for kind in self.options.formats:
                content = self.model_bytes(kind, quantization)
                path = self.run.bundle / f"{NAME}-{quantization}.{kind}"
                with replacing(path) as temporary:
                    temporary.write_bytes(content)
                    if quantization.startswith("int8"):
                        _require_integers(temporary, kind, path.name)
                    session = runtimes[kind].load(temporary, usable_cores())
                    with progress_bar(f"verifying {path.name}", len(images)) as bar:
                        found = score_images(session, images, bar.tick)
                    del session
                    verdict = {
                        "runtime": runtimes[kind].title,
                        "part": "test",
                        **parity(reference, found, targets, self.options.gate),
                    }
                    own = {
                        "format": kind,
                        "quantization": quantization,
                        "calibration": self.calibration(quantization),
                        "packages": package_versions(),
                        "parity": verdict,
                    }
                    temporary.write_bytes(with_metadata(kind, content, {**shared, **own}))
                artifact = read_artifact(path)
                self._list(artifact, shared)
                written.append(artifact)
        return written

    def _list(self, artifact: Artifact, shared: dict[str, Any]) -> None:
        """Add an artifact to the manifest; those of another model or version leave it, and the bundle."""
        folder = self.run.bundle
        others: list[Artifact] = []
        if (folder / MANIFEST).is_file():
            try:
                manifest = read_manifest(folder)
                current = manifest["shared"] == shared
                hashes = {entry["file"]: entry["sha256"] for entry in manifest["artifacts"]}
                names = [name for name in hashes if name != artifact.name]
                if current:
                    for name in names:
                        path = folder / name
                        if path.is_file() and sha256_of(path) == hashes[name]:
                            others.append(read_artifact(path))
                        else:
                            show(f"{path}: missing or changed since its export; no longer listed, export it again")
                else:
                    show(f"{folder}: {', '.join(names)} descended from another model or version; removed")
                    for name in names:
                        (folder / Path(name).name).unlink(missing_ok=True)
            except ArtifactError:
                # A damaged manifest is replaced; what it listed can be exported again.
                others = []
        write_manifest(folder, shared, [*others, artifact])


def _require_integers(path: Path, kind: str, name: str) -> None:
    """Raises GateError for a file that would be int8 in name only."""
    counts = computation_of(path, kind)
    if counts.verdict("int8") != "int8":
        raise GateError(
            f"{name}: only {100 * counts.integer_share:.1f} % of its multiply-accumulates would be in integers; "
            f"in float: {', '.join(counts.float_operators[:5])}"
        )


@contextmanager
def _step(title: str) -> Iterator[None]:
    """Say that a conversion runs, and how long it took; the converters' own chatter is held back."""
    with working(title), quiet():
        yield
