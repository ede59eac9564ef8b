"""Build an ONNX graph node by node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper

from cxr_edge.errors import ArtifactError, first_line

#: Readable by every ONNX Runtime since 1.14.
IR_VERSION = 8


class GraphBuilder:
    """Nodes and constants in order of addition, so that equal graphs are equal bytes."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def node(self, op_type: str, inputs: Sequence[str], output: str, name: str | None = None, **attributes: Any) -> str:
        """Add an operator with one output; returns the output's name, which is also the node's unless `name` is set."""
        self._nodes.append(helper.make_node(op_type, inputs, [output], name=name or output, **attributes))
        return output

    def constant(self, name: str, value: ArrayLike) -> str:
        """Add a constant, unless its name already exists; returns the name."""
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.asarray(value), name)
        return name

    def model(
        self, name: str, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto], opset: int
    ) -> onnx.ModelProto:
        """The graph as a model.

        Raises:
            ArtifactError: the graph is invalid; for example, the shapes of an operator's inputs do not match.
        """
        graph = helper.make_graph(self._nodes, name, inputs, outputs, initializer=list(self._constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], producer_name="cxr-edge")
        model.ir_version = IR_VERSION
        try:
            onnx.checker.check_model(model, full_check=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
            raise ArtifactError(f"the file has no lowering to valid ONNX ({first_line(error)})") from None
        return model
