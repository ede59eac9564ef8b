"""What makes training faster on a CPU, and changes neither what is learned nor what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def images() -> Any:
    return np.random.default_rng(0).normal(size=(2, 5, 4, 3)).astype(np.float32)


def test_a_pointwise_convolution_has_tensorflows_values_and_gradients(images: Any) -> None:
    from cxr_edge.training.backend import tf
    from cxr_edge.training.pointwise import pointwise_convolution

    value, kernel = tf.constant(images), tf.constant(np.random.default_rng(1).normal(size=(1, 1, 3, 6)), tf.float32)
    upstream = tf.constant(np.random.default_rng(2).normal(size=(2, 5, 4, 6)), tf.float32)
    results = []
    for convolution in (pointwise_convolution, lambda *inputs: tf.nn.conv2d(*inputs, 1, "VALID")):
        with tf.GradientTape() as tape:
            tape.watch([value, kernel])
            output = convolution(value, kernel)
        results.append([output, *tape.gradient(output, [value, kernel], upstream)])
    for ours, tensorflows in zip(*results, strict=True):
        np.testing.assert_allclose(ours, tensorflows, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
def test_the_layer_trains_like_keras_separable_convolution(images: Any, policy: str) -> None:
    from cxr_edge.training.backend import keras, tf
    from cxr_edge.training.pointwise import SeparableConv2D
    from cxr_edge.training.precision import global_policy

    with global_policy(policy):
        layers = [
            kind(6, 3, padding="same", use_bias=False) for kind in (SeparableConv2D, keras.layers.SeparableConv2D)
        ]
    results = []
    for layer in layers:
        layer.build(images.shape)
        layer.set_weights(layers[0].get_weights())
        with tf.GradientTape() as tape:
            output = layer(tf.constant(images), training=True) if layer is layers[0] else layer(tf.constant(images))
            loss = tf.reduce_sum(tf.cast(output, tf.float32) ** 2)
        results.append([output, *tape.gradient(loss, layer.trainable_variables)])
    tolerance = 1e-5 if policy == "float32" else 3e-2
    for ours, theirs in zip(*results, strict=True):
        scale = float(np.abs(theirs).max())
        np.testing.assert_allclose(np.float32(ours) / scale, np.float32(theirs) / scale, atol=tolerance)


def test_a_saved_model_loads_with_plain_keras(tmp_path: Path) -> None:
    from cxr_edge.training.backend import keras
    from cxr_edge.training.pointwise import SeparableConv2D

    model = keras.Sequential([keras.Input((5, 4, 3)), SeparableConv2D(6, 3, padding="same", use_bias=False)])
    model.save(tmp_path / "model.h5")
    loaded = keras.models.load_model(tmp_path / "model.h5")
    assert [type(layer) for layer in loaded.layers] == [keras.layers.SeparableConv2D]


def test_the_optimizer_moves_variables_as_keras_adam_does(tmp_path: Path) -> None:
    from cxr_edge.training.adam import FusedAdam
    from cxr_edge.training.backend import keras, tf
    from cxr_edge.training.loop import cosine_decay

    random = np.random.default_rng(0)
    start, gradients = random.normal(size=7), random.normal(size=(6, 7)) ** 3
    moved = []
    for kind in (FusedAdam, keras.optimizers.Adam):
        variable, optimizer = tf.Variable(start, dtype=tf.float32), kind(cosine_decay(0.05, 6, 2))
        for gradient in gradients:
            optimizer.apply_gradients([(tf.constant(gradient, tf.float32), variable)])
        moved.append(variable.numpy())
    assert np.abs(moved[0] - start).min() > 0.01
    np.testing.assert_allclose(moved[0], moved[1], rtol=1e-5, atol=1e-6)


def test_a_checkpoint_of_keras_adam_is_resumed(tmp_path: Path) -> None:
    from cxr_edge.training.adam import FusedAdam
    from cxr_edge.training.backend import keras, tf

    moved = []
    for kind in (keras.optimizers.Adam, FusedAdam):
        variable, optimizer = tf.Variable([1.0, -2.0]), kind(0.1)
        optimizer.build([variable])
        checkpoint = tf.train.Checkpoint(variable=variable, optimizer=optimizer)
        if kind is FusedAdam:
            checkpoint.restore(tf.train.latest_checkpoint(str(tmp_path))).assert_consumed()
        else:
            optimizer.apply_gradients([(tf.constant([3.0, 1.0]), variable)])
            checkpoint.save(str(tmp_path / "ckpt"))
        optimizer.apply_gradients([(tf.constant([-1.0, 0.5]), variable)])
        moved.append(variable.numpy())
    np.testing.assert_allclose(*moved, rtol=1e-6)
    assert not np.allclose(moved[0], [1.0, -2.0])


def test_a_timed_step_is_a_whole_training_step(images: Any) -> None:
    from cxr_edge.training.adam import FusedAdam
    from cxr_edge.training.backend import keras
    from cxr_edge.training.precision import training_step

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((5, 4, 3)), keras.layers.Flatten(), keras.layers.Dense(2, "softmax")])
    model.compile(FusedAdam(0.01), "categorical_crossentropy")
    step, targets = training_step(model), np.eye(2, dtype=np.float32)
    losses = [step(images, targets) for _ in range(8)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] / 2
