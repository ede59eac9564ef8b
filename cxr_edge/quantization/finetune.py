"""Quantization-aware fine-tuning: from calibrated ranges, towards the float model's own outputs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.console import Bar
from cxr_edge.files import replacing, write_json
from cxr_edge.intervals import wilson_interval
from cxr_edge.quantization.build import BuiltGraph, Ranges, build_graph
from cxr_edge.quantization.graph import Graph
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.batches import Batches
from cxr_edge.training.classifier import compiled, predict_probabilities
from cxr_edge.training.loop import Phase, Validation, cosine_decay


@dataclass(frozen=True)
class FineTuneOptions:
    """Epochs and peak learning rate of the fine-tuning."""

    epochs: int = 3
    learning_rate: float = 3e-5


def _logits(graph: Graph) -> str:
    return graph.nodes[-1].inputs[0]


def _features(graph: Graph) -> str:
    return next(node.name for node in graph.nodes if node.kind == "mean")


def _distillation_model(student: BuiltGraph, teacher: BuiltGraph) -> keras.Model:
    """The student with a loss added: its divergence from the teacher, in probabilities and in pooled features."""
    graph = student.graph
    names = [_logits(graph), _features(graph)]
    teach = keras.Model(teacher.model.input, [teacher.tensors[name] for name in names], name="teacher")
    teach.trainable = False
    wanted_logits, wanted_features = teach(student.model.input)
    logits, features = (student.tensors[name] for name in names)
    wanted = tf.nn.softmax(wanted_logits)
    divergence = tf.reduce_sum(wanted * (tf.nn.log_softmax(wanted_logits) - tf.nn.log_softmax(logits)), axis=-1)
    # In units of the features' own power: the divergence alone says nothing on images both models are sure of.
    distance = tf.reduce_mean((features - wanted_features) ** 2) / (tf.reduce_mean(wanted_features**2) + 1e-12)
    model = keras.Model(student.model.input, student.model.output)
    model.add_loss(tf.reduce_mean(divergence) + distance)
    return model


def _fidelity(
    model: keras.Model, images: NDArray[np.uint8], reference: NDArray[np.float32]
) -> Callable[[], Validation]:
    """A `Phase.validate` that scores by the divergence from the float model's probabilities."""
    step = compiled(model)

    def validate() -> Validation:
        probabilities = predict_probabilities(step, images)
        ratio = np.log(np.maximum(reference, 1e-7)) - np.log(np.maximum(probabilities, 1e-7))
        divergence = float((reference * ratio).sum(axis=1).mean())
        agree = probabilities.argmax(axis=1) == reference.argmax(axis=1)
        agreement = wilson_interval(int(agree.sum()), len(agree))
        return Validation(loss=divergence, accuracy=agreement, balanced_accuracy=agreement, score=-divergence)

    return validate


def fine_tune(
    reference_graph: Graph,
    graph: Graph,
    ranges: Ranges,
    batches: Batches,
    validation: NDArray[np.uint8],
    options: FineTuneOptions,
    key: dict[str, Any],
    folder: Path,
    bar: Bar,
) -> tuple[Graph, list[dict[str, Any]]]:
    """Fine-tune the weights of a graph with int8 simulated.

    Batch norms are folded, so they take no part. Activation ranges stay as calibrated. The graph as calibrated, without
    a training step, competes with every epoch, so that the result is at least as close to the float model as it is.

    Args:
        reference_graph: the deployment graph, all in float.
        graph: the same, with what is left out of the quantization marked.
        ranges: calibrated.
        batches: training images; their labels are not used.
        validation: uint8 `[N, S, S, 1]`, on which the best epoch is chosen.
        options: how long.
        key: names the model and the options, JSON-ready.
        folder: for checkpoints; an interrupted fine-tuning goes on from there.
        bar: advanced by each step.

    Returns:
        The graph with fine-tuned kernels (not on their grids yet), and a row of figures an epoch.
    """
    teacher, student = build_graph(reference_graph), build_graph(graph, ranges)
    reference = predict_probabilities(compiled(teacher.model), validation)
    model = _distillation_model(student, teacher)
    _discard_other_checkpoints(folder, {**key, "ranges": {name: list(bounds) for name, bounds in ranges.items()}})
    steps = options.epochs * batches.steps
    model.compile(keras.optimizers.Adam(cosine_decay(options.learning_rate, steps, warmup_steps=min(100, steps // 5))))
    best, validate = folder / "best.h5", _fidelity(student.model, validation, reference)
    start = validate()
    if not best.exists():
        with replacing(best) as temporary:
            student.model.save_weights(str(temporary), save_format="h5")
    phase = Phase("int8", model, student.model, options.epochs, validate, folder, floor=start.score)
    resumed = phase.resume()
    bar.advance(len(resumed.epochs) * batches.steps)

    def tick(text: str) -> None:
        bar.advance()
        bar.note(text)

    history = phase.run(batches, resumed, tick, lambda epoch, epochs: None)
    student.model.load_weights(str(best))
    return student.current_graph(), [{"epoch": 0, "score": start.score}, *history.to_json()["epochs"]]


def _discard_other_checkpoints(folder: Path, key: dict[str, Any]) -> None:
    """Only a fine-tuning of the same model with the same options and ranges may be gone on with."""
    path = folder / "key.json"
    if folder.is_dir() and not (path.is_file() and json.loads(path.read_text(encoding="utf-8")) == key):
        shutil.rmtree(folder)
    write_json(path, key)


def save_kernels(graph: Graph, path: Path, key: dict[str, Any]) -> None:
    """Write kernels and biases, and the `key` that says what they were made from, to an .npz file, atomically."""
    arrays: dict[str, Any] = {"__key__": np.array(repr(sorted(key.items())))}
    for node in graph.nodes:
        if node.kernel is not None:
            arrays[f"{node.name}/kernel"] = node.kernel
        if node.bias is not None:
            arrays[f"{node.name}/bias"] = node.bias
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def load_kernels(graph: Graph, path: Path, key: dict[str, Any]) -> Graph | None:
    """The graph with saved kernels and biases; None where there are none, or they were made from something else."""
    if not path.is_file():
        return None
    with np.load(path) as arrays:
        if str(arrays["__key__"]) != repr(sorted(key.items())):
            return None
        return replace(
            graph,
            nodes=tuple(
                node
                if node.kernel is None
                else replace(
                    node,
                    kernel=arrays[f"{node.name}/kernel"],
                    bias=None if node.bias is None else arrays[f"{node.name}/bias"],
                )
                for node in graph.nodes
            ),
        )
