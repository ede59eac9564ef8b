"""Which nodes of an ONNX file ONNX Runtime's CUDA provider takes, and which it leaves to the CPU, without a GPU."""
