"""int8 TFLite to ONNX, integer for integer, without TensorFlow."""
