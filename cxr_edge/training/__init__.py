"""Xception with transfer learning, in two phases (TensorFlow)."""
