"""A student of a trained run: fewer blocks and channels, chosen by measurement (TensorFlow)."""
