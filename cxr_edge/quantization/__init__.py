"""Calibration and quantization-aware fine-tuning (TensorFlow, tfmot)."""
