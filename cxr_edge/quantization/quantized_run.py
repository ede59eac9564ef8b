"""The calibrated and fine-tuned int8 graphs of a run, made once and kept in its folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cxr_edge import __version__
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.files import sha256_of
from cxr_edge.progress import Stage
from cxr_edge.quantization.calibrate import (
    calibration_batch,
    channel_statistics,
    choose_ranges,
    collect_histograms,
)
from cxr_edge.quantization.channel_shifts import with_shifts_on_grid
from cxr_edge.quantization.equalization import equalized
from cxr_edge.quantization.fine_tune import CLOSE_DB, Material, fine_tune
from cxr_edge.quantization.graph import Graph, keep_in_float, with_dense_per_tensor, with_heatmap
from cxr_edge.quantization.judge import Check
from cxr_edge.quantization.learn import LearningOptions
from cxr_edge.quantization.quantized_graph import QuantizedGraph, load_quantized_graph
from cxr_edge.quantization.rounding import ROUNDING_IMAGES, round_kernels
from cxr_edge.quantization.runaway import ordinary_images
from cxr_edge.records import JsonObject
from cxr_edge.runs import Run
from cxr_edge.training.batches import training_batches

#: Number of training images for the channel scales and the ranges.
CALIBRATION_IMAGES = 512
FINE_TUNING_METHOD = (
    f"where calibration is below {CLOSE_DB:g} dB: channel scales and ranges learned, kernels rounded by their inputs, "
    "ranges and biases learned"
)
CALIBRATION_METHOD = (
    "images on which the model runs away compared with all others left out, depthwise outputs centred, channels "
    "equalized by predicted noise but quiet ones no further than to a quarter of the median, least squared error with "
    "clipping weighted, kernels rounded by their inputs"
)


@dataclass(frozen=True)
class Variant:
    """How a quantization differs from the usual one: layers left in float (patterns of `keep_in_float`), dense kernels
    with one scale each, every activation's zero point at 0."""

    keep_float: tuple[str, ...] = ()
    dense_per_tensor: bool = False
    symmetric: bool = False

    def key(self) -> JsonObject:
        """What differs, JSON-ready; empty for the usual quantization."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items() if value
        }


class QuantizedRun:
    """Calibrated and fine-tuned int8 graphs of a run, each made when it is first needed, and reused by later exports.

    Args:
        run: a trained run.
        graph: its deployment graph, all in float.
        variant: how the quantization differs from the usual one.
        options: for the fine-tuning.
        stage: shows progress.
    """

    def __init__(self, run: Run, graph: Graph, variant: Variant, options: LearningOptions, stage: Stage) -> None:
        self.run, self.variant, self.options, self.stage = run, variant, options, stage
        self.config = run.config().options
        self.split = run_split(run)
        self.model_hash = sha256_of(run.model_file)
        target = keep_in_float(graph, variant.keep_float)
        self._target = with_dense_per_tensor(target) if variant.dense_per_tensor else target
        self._equalized: Graph | None = None
        self._calibration_images: NDArray[np.uint8] | None = None

    def calibration_images(self) -> NDArray[np.uint8]:
        """The representative data set: a seeded choice of training images, uint8 `[N, S, S, 1]`, in random order.

        Those on which the float graph runs away are left out.
        """
        if self._calibration_images is None:
            decoded_images = decoded(self.split, "train", self.config.image_size)
            order = np.random.default_rng(0).permutation(len(decoded_images))[:CALIBRATION_IMAGES]
            images = np.asarray(decoded_images[order])
            batch_size = calibration_batch(self.config.image_size)
            with self.stage("selecting calibration images", -(-len(images) // batch_size)) as bar:
                ordinary = ordinary_images(self._target, images, batch_size, bar.tick)
                if not ordinary.all():
                    bar.note(f"{(~ordinary).sum()} of {len(images)} left out, on which the model runs away")
            self._calibration_images = images[ordinary]
        return self._calibration_images

    def quantized_graph(self, fine_tuned: bool) -> QuantizedGraph:
        """The int8 graph, calibrated, or fine-tuned from there if need be (see `cxr_edge.quantization.fine_tune`)."""
        return self._fine_tuned() if fine_tuned else self._calibrated()

    def _calibrated(self) -> QuantizedGraph:
        key = {"method": CALIBRATION_METHOD, "images": CALIBRATION_IMAGES, **self._key()}
        return self._kept(self.file(Quantization.INT8_PTQ), key, self._calibrate)

    def _calibrate(self) -> QuantizedGraph:
        images = self.calibration_images()
        graph = self.equalized_graph()
        rounding, batch_size = images[:ROUNDING_IMAGES], calibration_batch(graph.image_size)
        batches = 2 * -(-len(images) // batch_size) + -(-len(rounding) // batch_size)
        with self.stage("calibrating", batches) as bar:
            histograms = collect_histograms(with_heatmap(graph), images, batch_size, bar.tick)
            ranges = choose_ranges(graph, histograms, self.variant.symmetric)
            on_grid = with_shifts_on_grid(graph, ranges)
            rounded = round_kernels(on_grid, ranges, rounding, batch_size, bar.tick)
        return replace(rounded, made={"images": len(images)})

    def equalized_graph(self) -> Graph:
        """The float graph with its channels equalized: what is calibrated, and where the learning starts."""
        if self._equalized is None:
            # All of them: a channel that none of them reaches is scaled like a quiet one.
            images = self.calibration_images()
            batch_size = calibration_batch(self.config.image_size)
            with self.stage("equalizing channels", -(-len(images) // batch_size)) as bar:
                statistics = channel_statistics(self._target, images, batch_size, bar.tick)
            self._equalized = equalized(self._target, statistics)
        return self._equalized

    def _fine_tuned(self) -> QuantizedGraph:
        key = {"method": FINE_TUNING_METHOD, "start": CALIBRATION_METHOD, **asdict(self.options), **self._key()}
        path = self.file(Quantization.INT8)
        checkpoints = path.with_name(f"{path.stem}-checkpoints")

        def fine_tuned() -> QuantizedGraph:
            size, calibrated = self.config.image_size, self._calibrated()
            material = Material(
                with_shifts_on_grid(self.equalized_graph(), calibrated.ranges),
                calibrated,
                self.calibration_images(),
                training_batches(self.split, size, self.config.batch_size, self.config.seed + 2),
                np.asarray(decoded(self.split, "validation", size)),
                self.variant.symmetric,
            )
            graph, checks = fine_tune(material, self.options, key, checkpoints, self.stage)
            return replace(graph, made={**calibrated.made, "checks": [asdict(check) for check in checks]})

        graph = self._kept(path, key, fine_tuned)
        # Including those of a process that was killed after it saved its result.
        shutil.rmtree(checkpoints, ignore_errors=True)
        return graph

    def _kept(self, path: Path, key: JsonObject, make: Callable[[], QuantizedGraph]) -> QuantizedGraph:
        kept = load_quantized_graph(self._target, path, key)
        if kept is None:
            kept = make()
            kept.save(path, key)
        return kept

    def _key(self) -> JsonObject:
        return {"model": self.model_hash, "cxr_edge": __version__, **self.variant.key()}

    def file(self, quantization: Quantization) -> Path:
        """Where the int8 graph is kept."""
        variant = json.dumps(self.variant.key(), sort_keys=True)
        suffix = f"-{hashlib.sha256(variant.encode()).hexdigest()[:8]}" if self.variant.key() else ""
        return self.run.quantized / f"{quantization}{suffix}.npz"

    def described(self, quantization: Quantization, graph: QuantizedGraph) -> JsonObject:
        """How an int8 graph was made, for the metadata of its artifacts.

        `images` is the number of calibration images. `steps` is 0 if calibration alone was close enough, and
        `kept_step` the step of the fine-tuning whose graph was kept: 0 if the calibrated graph was closest.
        """
        made = graph.made
        description: JsonObject = {"images": made["images"], "method": CALIBRATION_METHOD, **self.variant.key()}
        if quantization.is_fine_tuned:
            checks = [Check(**row) for row in made["checks"]]
            kept = min(checks, key=lambda check: check.distance)
            description["fine_tuning"] = {
                **asdict(self.options), "method": FINE_TUNING_METHOD, "steps": checks[-1].step, "kept_step": kept.step,
                "calibrated_signal_to_noise_db": checks[0].closeness_db,
            }  # fmt: skip
        return description
