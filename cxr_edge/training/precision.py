"""The precision of a training run: the one requested, or the one with the fastest steps on this machine."""

from __future__ import annotations

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from cxr_edge.choices import Precision, Strategy
from cxr_edge.errors import CacheError
from cxr_edge.files import cache_folder, write_json
from cxr_edge.processors import cpu_flags, describe_cpu, usable_cores
from cxr_edge.runs.network import XCEPTION
from cxr_edge.runs.progress import SILENT, Progress
from cxr_edge.train_options import TrainOptions
from cxr_edge.training.adam import FusedAdam
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.xception import build_classifier, freeze_blocks

#: Instructions without which bfloat16 is computed in float32, and cannot be faster.
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
#: Fewest steps of a run that are worth timing first, which takes about a minute, half of it TensorFlow's tracing.
MEASURED_FROM = 500
_ROUNDS = 3
#: The share of float32's time below which bfloat16's coarser numbers are worth it.
_WORTH = 0.9


def training_policy(folder: Path, options: TrainOptions, classes: int, steps: int, progress: Progress = SILENT) -> str:
    """The Keras precision policy of a training run; a resumed run keeps it, on any machine.

    `auto` is mixed_float16 on a GPU and float32 on a CPU. A long run on a CPU that computes bfloat16 uses the faster of
    float32 and mixed_bfloat16, timed once per machine and kind of step.

    Args:
        folder: the run's checkpoints, where the choice is stored.
        options: of the training.
        classes: number of labels.
        steps: of the whole training.
        progress: reports what is being timed.
    """
    if options.precision is not Precision.AUTO:
        return str(options.precision)
    choice_file = folder / "precision.json"
    if earlier := _read(choice_file):
        return earlier
    has_gpu = bool(tf.config.list_physical_devices("GPU"))
    if options.strategy is Strategy.MULTI_WORKER:
        # All workers need the same policy, so they must not time it separately.
        return str(Precision.MIXED_FLOAT16 if has_gpu else Precision.FLOAT32)
    # A run of an earlier version, without this file, began in float32 or on a GPU.
    is_long = not folder.is_dir() and steps >= MEASURED_FROM
    policy = Precision.MIXED_FLOAT16 if has_gpu else Precision.FLOAT32
    if not has_gpu and is_long and cpu_flags() & _BFLOAT16:
        policy = _faster(options, classes, progress)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(choice_file, {"policy": policy})
    return str(policy)


def _faster(options: TrainOptions, classes: int, progress: Progress) -> Precision:
    sizes = (options.image_size, options.batch_size)
    # "whole steps" invalidates the choices of earlier versions, which timed steps incorrectly.
    key = ["whole steps", describe_cpu()[0], usable_cores(), tf.__version__, *sizes, options.frozen_blocks]
    name = f"precision-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.json"
    try:
        if remembered := _read(cache_folder() / name):
            return Precision(remembered)
    except (CacheError, ValueError):
        pass
    policies = (Precision.FLOAT32, Precision.MIXED_BFLOAT16)
    with progress.working("timing a step in float32 and mixed_bfloat16"):
        plain, mixed = step_seconds(policies, *sizes, classes, options.frozen_blocks, _ROUNDS)
    ratio = statistics.median(after / before for before, after in zip(plain, mixed, strict=True))
    policy = Precision.MIXED_BFLOAT16 if ratio < _WORTH else Precision.FLOAT32
    # Without a writable cache folder, steps are timed each time.
    with suppress(CacheError, OSError):
        write_json(cache_folder() / name, {"policy": policy, "ratio": ratio})
    return policy


def _read(path: Path) -> str | None:
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["policy"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def step_seconds(
    policies: Sequence[str], image_size: int, batch_size: int, classes: int, frozen_blocks: int, rounds: int
) -> list[list[float]]:
    """Seconds of interleaved training steps of Xception, `[policy][round]`; the first step of each is not counted."""
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (batch_size, image_size, image_size, 1)).astype(np.float32)
    targets = np.eye(classes, dtype=np.float32)[np.arange(batch_size) % classes]
    steps = [training_step(_compiled(policy, image_size, classes, frozen_blocks)) for policy in policies]
    for step in steps:
        step(images, targets)
    seconds: list[list[float]] = [[] for _ in policies]
    for _ in range(rounds):
        for step, times in zip(steps, seconds, strict=True):
            start = time.perf_counter()
            step(images, targets)
            times.append(time.perf_counter() - start)
    return seconds


def training_step(model: keras.Model) -> Callable[[Any, Any], float]:
    """A compiled model's training step on images and targets, to be timed; it returns the loss.

    Not `train_on_batch`, which makes a `tf.data` iterator for each step and may wait for one of its timers: steps of
    0.7 s took 1.28 s.
    """
    step = tf.function(lambda images, targets: model.train_step((images, targets))["loss"])
    return lambda images, targets: float(step(tf.convert_to_tensor(images), tf.convert_to_tensor(targets)))


def _compiled(policy: str, image_size: int, classes: int, frozen_blocks: int) -> Any:
    with global_policy(policy):
        model = build_classifier(image_size, classes)
        freeze_blocks(model, XCEPTION, frozen_blocks)
        model.compile(FusedAdam(1e-4), "categorical_crossentropy")
    return model


@contextmanager
def global_policy(policy: str) -> Iterator[None]:
    """Apply a Keras precision policy to the models built in the body."""
    before = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy(policy)
    try:
        yield
    finally:
        keras.mixed_precision.set_global_policy(before)
