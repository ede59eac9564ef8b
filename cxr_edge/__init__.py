"""Chest X-ray classifiers from a folder of images to int8 on a device at the edge."""

__version__ = "0.1.0"
