"""Quantization-aware fine-tuning of what int8 costs: a range per tensor and a correction per bias.

The kernels stay where they are. In int8 they cost nothing (29.4 dB of the logits on new images of the same kind), the
activations everything (18.2 dB). Fine-tuning the kernels makes them pay for ranges that cut: it moves them in a
direction that cancels the cutting on training images and nowhere else (12.8 dB with everything else in float), and on
818 held-back images, with two seeds, lost 21 and won 3. A few thousand bounds and biases, learned towards the float
model's own outputs, have little to overfit with. The bounds are learned as in "Learned Step Size Quantization" (Esser
et al., 2020), with a distillation loss on residual sums, pooled features and logits, on the augmented training images.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.console import Bar
from cxr_edge.errors import RunError, first_line
from cxr_edge.evaluation.shifts import SUITE
from cxr_edge.files import write_json
from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.quantization.quantized_graph import QuantizedGraph, load_quantized_graph
from cxr_edge.quantization.simulate import fake_quantize, interpret, kernels_of
from cxr_edge.training.backend import keras, tf
from cxr_edge.training.batches import Batches

#: How often the result so far is judged and saved.
CHECKS = 4
#: Images on which it is judged, as they are and shifted.
MOST_JUDGED = 128
#: The biases' rate beside that of the bounds' logarithms, in units of their tensor's range.
_BIAS_RATE = 0.1
#: Softens the teacher's probabilities (Hinton et al., "Distilling the Knowledge in a Neural Network", 2015).
_TEMPERATURE = 2.0
_LOGITS_WEIGHT = 0.2
#: Variables with the optimizer that moves them.
Optimizers = list[tuple[list[Any], Any]]


@dataclass(frozen=True)
class LearningOptions:
    """Steps, of a batch each, and peak learning rate, of the logarithms of the bounds."""

    steps: int = 300
    learning_rate: float = 2e-3


@dataclass(frozen=True)
class Check:
    """How far the int8 graph was from the float one after some steps, on validation images as they are and shifted.

    Divergences are of the probabilities, in nats.
    """

    step: int
    divergence: float
    shifted_divergence: float
    agreement: float
    shifted_agreement: float

    @property
    def distance(self) -> float:
        """By which the best check is chosen."""
        return (self.divergence + self.shifted_divergence) / 2


class Learned:
    """What is learned: factors of the bounds, as logarithms, and changes of the biases, in units of a range."""

    def __init__(self, start: QuantizedGraph, symmetric: bool) -> None:
        self.start, self.symmetric = start, symmetric
        names = [name for name in start.ranges if name != IMAGE]
        self.low = {name: tf.Variable(0.0) for name in names}
        self.high = {name: tf.Variable(0.0) for name in names}
        biased = [node for node in start.graph.nodes if node.bias is not None]
        self.bias = {node.name: tf.Variable(np.zeros_like(node.bias)) for node in biased}
        self._units = {node.name: self._unit(node) for node in biased}
        self._kernels = kernels_of(start.graph)

    def bounds(self) -> list[Any]:
        """The variables of the bounds."""
        return [*self.high.values()] if self.symmetric else [*self.low.values(), *self.high.values()]

    def biases(self) -> list[Any]:
        """The variables of the biases."""
        return list(self.bias.values())

    def tensors(self, images: Any) -> dict[str, Any]:
        """Every tensor of the int8 graph for float32 images `[N, S, S, 1]`."""
        return interpret(self.start.graph, images, self._kernels, self._bias, self._activation)

    def result(self) -> QuantizedGraph:
        """The graph and ranges as they are learned now."""
        ranges = {IMAGE: self.start.ranges[IMAGE]}
        for name in self.low:
            low, high = self._range(name)
            ranges[name] = (float(low), float(high))
        nodes = tuple(
            node if node.bias is None else replace(node, bias=np.asarray(self._bias(node), np.float32))
            for node in self.start.graph.nodes
        )
        return QuantizedGraph(replace(self.start.graph, nodes=nodes), ranges)

    def _unit(self, node: Node) -> float:
        ranges = self.start.ranges
        (reader, *_) = (other for other in self.start.graph.nodes if node.name in other.inputs)
        low, high = ranges.get(node.name) or ranges.get(reader.name) or (0.0, 1.0)
        return high - low

    def _range(self, name: str) -> tuple[Any, Any]:
        low, high = self.start.ranges[name]
        top = high * tf.exp(self.high[name])
        return (top * (low / high) if self.symmetric else low * tf.exp(self.low[name])), top

    def _bias(self, node: Node) -> Any:
        return node.bias + self.bias[node.name] * self._units[node.name]

    def _activation(self, name: str, value: Any) -> Any:
        return fake_quantize(value, *self._range(name)) if name in self.low else value


class _Teacher:
    """The float graph's logits, pooled features and residual sums, and how far the int8 graph's are from them."""

    def __init__(self, graph: Graph) -> None:
        self.logits = graph.nodes[-1].inputs[0]
        features = next(node.name for node in graph.nodes if node.kind == "mean")
        self.sums = [node.name for node in graph.nodes if node.kind == "add"]
        self.names = [self.logits, features, *self.sums]
        self._graph, self._kernels = graph, kernels_of(graph)

    def outputs(self, images: Any) -> list[Any]:
        """Of `names`, for float32 images `[N, S, S, 1]`."""
        tensors = interpret(self._graph, images, self._kernels)
        return [tensors[name] for name in self.names]

    def loss(self, tensors: Mapping[str, Any], outputs: list[Any]) -> Any:
        """Of the int8 graph's tensors beside the `outputs`."""
        wanted, features, *sums = outputs
        logits = tensors[self.logits]
        difference = _centred(logits) - _centred(wanted)
        ratio = tf.nn.log_softmax(wanted / _TEMPERATURE) - tf.nn.log_softmax(logits / _TEMPERATURE)
        divergence = tf.reduce_sum(tf.nn.softmax(wanted / _TEMPERATURE) * ratio, axis=-1)
        loss = _LOGITS_WEIGHT * tf.reduce_mean(tf.reduce_sum(difference**2, axis=-1)) + tf.reduce_mean(divergence)
        loss += _relative_error(tensors[self.names[1]], features)
        return loss + tf.add_n(
            [_relative_error(tensors[name], value) for name, value in zip(self.sums, sums, strict=True)]
        ) / len(sums)


def _centred(logits: Any) -> Any:
    """Softmax does not see their mean."""
    return logits - tf.reduce_mean(logits, axis=-1, keepdims=True)


def _relative_error(value: Any, reference: Any) -> Any:
    """Squared error over the reference's power, per channel, so that no large channel speaks for the small ones."""
    axes = list(range(len(value.shape) - 1))
    power = tf.reduce_sum(reference**2, axes)
    return tf.reduce_mean(tf.reduce_sum((value - reference) ** 2, axes) / (power + 1e-6 * tf.reduce_sum(power)))


def learn(
    reference: Graph,
    start: QuantizedGraph,
    batches: Batches,
    validation: NDArray[np.uint8],
    options: LearningOptions,
    key: Mapping[str, Any],
    folder: Path,
    bar: Bar,
    symmetric: bool = False,
) -> tuple[QuantizedGraph, list[Check]]:
    """Learn ranges and biases towards the float graph's outputs.

    The start competes with every check, so that the result is at least as close to the float model as it is, on
    images like the training set's and unlike them.

    Args:
        reference: the float graph that `start` was made from.
        start: calibrated, with kernels on their grids.
        batches: training images; their labels are not used.
        validation: uint8 `[N, S, S, 1]`, on which the best check is chosen.
        options: how long.
        key: names the model and the options, JSON-ready.
        folder: for checkpoints; an interrupted learning is resumed from there.
        bar: advanced by each step.
        symmetric: keep every zero point at 0.

    Returns:
        The best graph, and every check; the first is the start's.

    Raises:
        RunError: a checkpoint is damaged, or the learning diverged.
    """
    teacher, student = _Teacher(reference), Learned(start, symmetric)
    judge = _judge(student, teacher, validation)
    optimizers = [
        (student.bounds(), _adam(options.learning_rate, options.steps)),
        (student.biases(), _adam(options.learning_rate * _BIAS_RATE, options.steps)),
    ]
    state = _State(folder, key, student, optimizers)
    if state.checks:
        bar.advance(state.checks[-1].step)
    else:
        state.keep(judge(0))
    step = _training_step(student, teacher, optimizers)
    interval = -(-options.steps // CHECKS)
    for number, images in _images(batches, state.checks[-1].step, options.steps):
        loss = step(images)
        bar.advance()
        if number % 5 == 0:
            bar.note(f"int8 {number}/{options.steps} loss {float(loss):.4f}")
        if number % interval == 0 or number == options.steps:
            if not np.isfinite(float(loss)):
                raise RunError(
                    "int8: the learning diverged, its loss is not a number; take a lower --qat-learning-rate"
                )
            state.keep(judge(number))
    return state.best(), state.checks


def _adam(rate: float, steps: int) -> Any:
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps))


def _training_step(student: Learned, teacher: _Teacher, optimizers: Optimizers) -> Callable[[Any], Any]:
    for variables, optimizer in optimizers:
        optimizer.build(variables)

    @tf.function  # type: ignore[untyped-decorator]
    def step(images: Any) -> Any:
        # The device gets whole grey values.
        images = tf.round(images)
        outputs = teacher.outputs(images)
        with tf.GradientTape() as tape:
            loss = teacher.loss(student.tensors(images), outputs)
        gradients = tape.gradient(loss, [variables for variables, _ in optimizers])
        for own, (variables, optimizer) in zip(gradients, optimizers, strict=True):
            pairs = zip(own, variables, strict=True)
            # What the heat map alone reads is not in the loss.
            optimizer.apply_gradients([(gradient, variable) for gradient, variable in pairs if gradient is not None])
        return loss

    return step  # type: ignore[no-any-return]


def _images(batches: Batches, done: int, steps: int) -> Iterator[tuple[int, Any]]:
    """The number of each step still to do, from 1, and its images; the same ones whether resumed or not."""
    while done < steps:
        epoch, skipped = divmod(done, batches.steps)
        for images, *_ in batches.epoch(epoch).skip(skipped).take(steps - done):
            done += 1
            yield done, images


def _judge(student: Learned, teacher: _Teacher, validation: NDArray[np.uint8]) -> Callable[[int], Check]:
    plain = validation[np.sort(np.random.default_rng(0).permutation(len(validation))[:MOST_JUDGED])]
    shifted = np.concatenate([SUITE[index % len(SUITE)].apply(plain[index : index + 1]) for index in range(len(plain))])
    wanted = tf.function(lambda images: teacher.outputs(tf.cast(images, tf.float32))[0])
    judged = tf.function(lambda images: student.tensors(tf.cast(images, tf.float32))[teacher.logits])
    parts = [(images, _log_probabilities(wanted, images)) for images in (plain, shifted)]

    def judge(step: int) -> Check:
        figures = []
        for images, reference in parts:
            logarithms = _log_probabilities(judged, images)
            figures.append(float((np.exp(reference) * (reference - logarithms)).sum(axis=1).mean()))
            figures.append(float((logarithms.argmax(axis=1) == reference.argmax(axis=1)).mean()))
        divergence, agreement, shifted_divergence, shifted_agreement = figures
        return Check(step, divergence, shifted_divergence, agreement, shifted_agreement)

    return judge


def _log_probabilities(step: Any, images: NDArray[np.uint8], batch_size: int = 16) -> NDArray[np.float64]:
    rows = [step(images[start : start + batch_size]).numpy() for start in range(0, len(images), batch_size)]
    logits = np.concatenate(rows).astype(np.float64)
    logits -= logits.max(axis=1, keepdims=True)
    return np.asarray(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)))


class _State:
    """The checks so far with what was learned at the last of them, and the best one's graph, in a folder."""

    def __init__(self, folder: Path, key: Mapping[str, Any], student: Learned, optimizers: Optimizers) -> None:
        self.folder, self.key, self.student = folder, key, student
        self._file = folder / "checks.json"
        learned = [variable for own, _ in optimizers for variable in own]
        variables = {f"variable_{index}": variable for index, variable in enumerate(learned)}
        adams = {f"optimizer_{index}": optimizer for index, (_, optimizer) in enumerate(optimizers)}
        for own, optimizer in optimizers:
            optimizer.build(own)
        self._checkpoint = tf.train.Checkpoint(**variables, **adams)
        # Two are kept: a kill between writing a checkpoint and the checks leaves the one before in force.
        self._manager = tf.train.CheckpointManager(self._checkpoint, str(folder / "state"), max_to_keep=2)
        self.checks = self._resumed()

    def _resumed(self) -> list[Check]:
        try:
            record = json.loads(self._file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            record = None
        if record is None or record["key"] != self.key:
            shutil.rmtree(self.folder, ignore_errors=True)
            return []
        checks = [Check(**row) for row in record["checks"]]
        try:
            self._checkpoint.restore(str(self.folder / "state" / f"ckpt-{checks[-1].step}")).expect_partial()
        except Exception as error:
            raise RunError(
                f"{self.folder}: its checkpoint cannot be read ({first_line(error)}); remove the folder to start again"
            ) from None
        return checks

    def keep(self, check: Check) -> None:
        """Save what is learned, and its graph where no check before was as near."""
        if all(check.distance < other.distance for other in self.checks):
            self.student.result().save(self._best, self.key)
        self.checks.append(check)
        self._manager.save(checkpoint_number=check.step)
        write_json(self._file, {"key": self.key, "checks": [vars(own) for own in self.checks]})

    @property
    def _best(self) -> Path:
        return self.folder / "best.npz"

    def best(self) -> QuantizedGraph:
        graph = load_quantized_graph(self.student.start.graph, self._best, self.key)
        if graph is None:
            raise RunError(f"{self._best}: cannot be read; remove {self.folder} to start again")
        return graph
