"""What the quantization of a run yields, made once and kept in its folder: calibrated ranges, fine-tuned graphs."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge import __version__
from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.artifacts.kinds import Quantization
from cxr_edge.console import progress_bar
from cxr_edge.data.cache import decoded
from cxr_edge.data.split import run_split
from cxr_edge.files import sha256_of, write_json
from cxr_edge.quantization.calibrate import PERCENTILE, choose_ranges, collect_histograms, symmetric_range
from cxr_edge.quantization.finetune import FineTuneOptions, fine_tune, load_kernels, save_kernels
from cxr_edge.quantization.graph import (
    Graph,
    keep_in_float,
    quantized_tensors,
    with_dense_per_tensor,
    with_heatmap,
)
from cxr_edge.runs import Run
from cxr_edge.training.batches import training_batches

CALIBRATION_IMAGES = 256
CALIBRATION_METHOD = f"percentile {PERCENTILE}"
CALIBRATION_BATCH = 8


@dataclass(frozen=True)
class Variant:
    """How a quantization differs from the usual one: layers left in float (patterns of `keep_in_float`), dense kernels
    with one scale each, every activation's zero point at 0."""

    keep_float: tuple[str, ...] = ()
    dense_per_tensor: bool = False
    symmetric: bool = False

    def key(self) -> dict[str, Any]:
        """What differs, JSON-ready; empty for the usual quantization."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items() if value
        }


class QuantizedRun:
    """Calibrated ranges and fine-tuned graphs of a run, each made when it is first asked for.

    Args:
        run: a trained one.
        graph: its deployment graph, all in float.
        variant: what is quantized how.
        options: of the fine-tuning.
    """

    def __init__(self, run: Run, graph: Graph, variant: Variant, options: FineTuneOptions) -> None:
        self.run, self.variant, self.options = run, variant, options
        self.config = run.config().options
        self.split = run_split(run)
        self.model_hash = sha256_of(run.model_file)
        self._source = graph
        target = keep_in_float(graph, variant.keep_float)
        self._target = with_dense_per_tensor(target) if variant.dense_per_tensor else target
        self._calibrated: dict[str, tuple[float, float]] | None = None

    def calibration_images(self) -> NDArray[np.uint8]:
        """The representative data set: a seeded choice of training images, uint8 `[N, S, S, 1]`."""
        images = decoded(self.split, "train", self.config.image_size)
        chosen = np.random.default_rng(0).permutation(len(images))[:CALIBRATION_IMAGES]
        return np.asarray(images[np.sort(chosen)])

    def ranges(self) -> dict[str, tuple[float, float]]:
        """Calibrated activation ranges; kept, and reused by later exports, so that all files hold the same integers."""
        if self._calibrated is None:
            self._calibrated = self._kept_ranges()
        if self._calibrated is None:
            images = self.calibration_images()
            with progress_bar("calibrating", 2 * -(-len(images) // CALIBRATION_BATCH)) as bar:
                histograms = collect_histograms(with_heatmap(self._source), images, CALIBRATION_BATCH, bar.tick)
            self._calibrated = choose_ranges(histograms)
            write_json(self.calibration_file, {**self._calibration_key(), "ranges": self._calibrated})
        if not self.variant.symmetric:
            return self._calibrated
        return {
            name: bounds if name == IMAGE else symmetric_range(*bounds) for name, bounds in self._calibrated.items()
        }

    @property
    def calibration_file(self) -> Path:
        return self.run.quantized / "calibration.json"

    def _calibration_key(self) -> dict[str, Any]:
        images = min(CALIBRATION_IMAGES, len(self.split.part("train")))
        return {"images": images, "method": CALIBRATION_METHOD, "model": self.model_hash, "cxr_edge": __version__}

    def _kept_ranges(self) -> dict[str, tuple[float, float]] | None:
        try:
            kept = json.loads(self.calibration_file.read_text(encoding="utf-8"))
            ranges = {name: (low, high) for name, (low, high) in kept.pop("ranges").items()}
            wanted = set(quantized_tensors(with_heatmap(self._source)))
            return ranges if kept == self._calibration_key() and set(ranges) >= wanted else None
        except (OSError, ValueError, KeyError, TypeError):
            # None yet, or damaged: calibrating again costs a minute.
            return None

    def graph(self, fine_tuned: bool) -> Graph:
        """The graph to convert: as trained, or after quantization-aware fine-tuning.

        A fine-tuned one is kept, and reused by later exports of the same variant with the same options.
        """
        if not fine_tuned:
            return self._target
        options = self.options
        key = {"model": self.model_hash, "cxr_edge": __version__, **asdict(options), **self.variant.key()}
        variant = json.dumps(self.variant.key(), sort_keys=True)
        name = f"int8-{hashlib.sha256(variant.encode()).hexdigest()[:8]}" if self.variant.key() else "int8"
        path = self.run.quantized / f"{name}.npz"
        found = load_kernels(self._target, path, key)
        if found is not None:
            return found
        ranges, size = self.ranges(), self.config.image_size
        batches = training_batches(self.split, size, self.config.batch_size, self.config.seed + 2)
        validation = np.asarray(decoded(self.split, "validation", size))
        checkpoints = self.run.quantized / f"{name}-checkpoints"
        with progress_bar("quantization-aware fine-tuning", options.epochs * batches.steps) as bar:
            graph, rows = fine_tune(
                self._source, self._target, ranges, batches, validation, options, key, checkpoints, bar
            )
        write_json(self.run.quantized / f"{name}-history.json", rows)
        save_kernels(graph, path, key)
        shutil.rmtree(checkpoints)
        return graph

    def described(self, quantization: Quantization) -> dict[str, Any] | None:
        """How an artifact came by its integers, for its metadata; None for a float one."""
        if not quantization.is_integer:
            return None
        key = self._calibration_key()
        found: dict[str, Any] = {"images": key["images"], "method": key["method"], **self.variant.key()}
        if quantization.is_fine_tuned:
            found["fine_tuning"] = asdict(self.options)
        return found
