"""TFLite and ONNX artifacts from the trained model (TensorFlow, tf2onnx)."""
