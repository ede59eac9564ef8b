"""Classify chest X-rays with nothing but LiteRT, NumPy and Pillow: classify_tflite.py MODEL.tflite IMAGE..."""

import json
import sys
import zipfile
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

manifest = Path(sys.argv[1]).with_name("manifest.json")
if manifest.exists() and "cascade" in json.loads(manifest.read_text(encoding="utf-8")):
    sys.exit(f"{sys.argv[1]}: a model of a cascade, which cxr-edge predict runs as a whole; name one of another bundle")
metadata = json.loads(zipfile.ZipFile(sys.argv[1]).read("metadata.json"))
labels = metadata["labels"]
interpreter = Interpreter(sys.argv[1])
classify = interpreter.get_signature_runner()
side = interpreter.get_input_details()[0]["shape"][1]
size, bilinear = (side, side), Image.Resampling.BILINEAR
# Artifacts from before November 2026 have a sentence here: fit into ...
proportions_kept = metadata["imaging"]["resize"].startswith(("pad", "fit"))
for path in sys.argv[2:]:
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode not in ("L", "RGB", "RGBA"):
        sys.exit(f"{path}: mode {picture.mode} needs what cxr-edge predict does")
    grey = picture.convert("L")
    grey = ImageOps.pad(grey, size, bilinear, color=0) if proportions_kept else grey.resize(size, bilinear)
    probabilities = classify(image=np.asarray(grey)[None, :, :, None])["probabilities"][0]
    if probabilities.dtype == np.int8:
        probabilities = (probabilities.astype(np.float32) + 128) / 256
    print(path, labels[probabilities.argmax()], *(f"{value:.4f}" for value in probabilities), sep="\t")
