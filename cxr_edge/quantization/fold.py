"""From the trained Keras model to the deployment graph: batch norms and normalisation folded.

Folding is exact: a batch norm at inference is a factor and an offset per channel, and the first convolution has no
padding, so `x / 127.5 - 1` folds into its kernel and bias too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from cxr_edge.artifacts.contract import IMAGE
from cxr_edge.quantization.graph import Graph, Node
from cxr_edge.training.backend import keras


def _convolution(layer: Any, name: str) -> list[Node]:
    """A Keras convolution as one node, or as two where it is separable; inputs are filled in by the caller."""
    shape = {"strides": tuple(layer.strides), "padding": layer.padding}
    if isinstance(layer, keras.layers.SeparableConv2D):
        depthwise, pointwise = (variable.numpy() for variable in layer.weights[:2])
        bias = layer.bias.numpy() if layer.use_bias else np.zeros(pointwise.shape[-1], np.float32)
        return [
            Node(f"{name}_depthwise", "depthwise", (), kernel=depthwise[..., 0], **shape),
            Node(f"{name}_pointwise", "conv", (), kernel=pointwise, bias=bias),
        ]
    kernel = layer.kernel.numpy()
    bias = layer.bias.numpy() if layer.use_bias else np.zeros(kernel.shape[-1], np.float32)
    return [Node(name, "conv", (), kernel=kernel, bias=bias, **shape)]


def _with_input_scaled(node: Node, scale: float, offset: float) -> Node:
    assert node.padding == "valid" and node.kernel is not None and node.bias is not None
    kernel = node.kernel.astype(np.float64)
    return replace(
        node,
        kernel=(kernel * scale).astype(np.float32),
        bias=(node.bias + offset * kernel.sum(axis=(0, 1, 2))).astype(np.float32),
    )


def _with_batch_norm(node: Node, layer: Any) -> Node:
    assert node.kernel is not None and node.bias is not None
    mean, variance = layer.moving_mean.numpy().astype(np.float64), layer.moving_variance.numpy().astype(np.float64)
    gamma = layer.gamma.numpy() if layer.scale else 1.0
    beta = layer.beta.numpy() if layer.center else 0.0
    factor = gamma / np.sqrt(variance + layer.epsilon)
    return replace(
        node,
        kernel=(node.kernel * factor).astype(np.float32),
        bias=(beta + (node.bias - mean) * factor).astype(np.float32),
    )


def fold(model: keras.Model) -> Graph:
    """The deployment graph of a trained classifier from `cxr_edge.training.xception.build_classifier`.

    Its input is `[N, S, S, 1]` with raw grey values 0..255, its output float32 `[N, K]` probabilities.
    """
    nodes: dict[str, Node] = {}
    tensor_of: dict[str, str] = {}
    normalisation = (1.0, 0.0)
    for layer in model.layers:
        inputs = tuple(tensor_of[parent.layer.name] for parent in layer.inbound_nodes[0].parent_nodes)
        kind = type(layer).__name__
        layer_nodes: list[Node] = []
        if kind == "InputLayer":
            tensor_of[layer.name] = IMAGE
        elif kind == "Rescaling":
            normalisation = (float(layer.scale), float(layer.offset))
        elif kind == "BatchNormalization":
            nodes[inputs[0]] = _with_batch_norm(nodes[inputs[0]], layer)
        elif kind in ("Conv2D", "SeparableConv2D"):
            layer_nodes = _convolution(layer, layer.name)
            if inputs == (IMAGE,):
                layer_nodes = [_with_input_scaled(layer_nodes[0], *normalisation)]
        elif kind == "Activation":
            assert layer.activation is keras.activations.relu
            layer_nodes = [Node(layer.name, "relu", ())]
        elif kind == "MaxPooling2D":
            layer_nodes = [Node(layer.name, "maxpool", (), tuple(layer.strides), tuple(layer.pool_size), layer.padding)]
        elif kind == "Add":
            tensor_of[layer.name] = layer.name
            nodes[layer.name] = Node(layer.name, "add", inputs, layer=layer.name)
            continue
        elif kind == "GlobalAveragePooling2D":
            layer_nodes = [Node(layer.name, "mean", ())]
        elif kind == "Dense":
            layer_nodes = [Node(layer.name, "dense", (), kernel=layer.kernel.numpy(), bias=layer.bias.numpy())]
            after = {keras.activations.relu: "relu", keras.activations.softmax: "softmax"}[layer.activation]
            layer_nodes.append(Node(f"{layer.name}_{after}", after, ()))
        elif kind != "Dropout":
            raise TypeError(f"{layer.name}: a {kind} has no place in the deployment graph")
        tensor = inputs[0] if inputs else IMAGE
        for node in layer_nodes:
            nodes[node.name] = replace(node, inputs=(tensor,), layer=layer.name)
            tensor = node.name
        tensor_of[layer.name] = tensor
    return Graph(image_size=model.input_shape[1], nodes=tuple(nodes.values()))
