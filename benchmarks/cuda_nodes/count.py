"""Print where the nodes of an ONNX file go, as JSON: operators and their number, by provider.

Run by `benchmarks.cuda_nodes` with onnxruntime-gpu and stand-ins for CUDA's libraries on its paths.
"""

from __future__ import annotations

import json
import sys
from collections import Counter


def nodes_by_provider(path: str) -> dict[str, dict[str, int]]:
    """As the providers themselves assign them when a session starts. Raises RuntimeError if CUDA's does not start."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    session = onnxruntime.InferenceSession(path, options, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise RuntimeError("the CUDA provider does not start")
    counts: dict[str, Counter[str]] = {}
    for subgraph in session.get_provider_graph_assignment_info():
        counts.setdefault(subgraph.ep_name, Counter()).update(node.op_type for node in subgraph.get_nodes())
    return {provider: dict(counts[provider].most_common()) for provider in sorted(counts)}


if __name__ == "__main__":
    print(json.dumps(nodes_by_provider(sys.argv[1])))
