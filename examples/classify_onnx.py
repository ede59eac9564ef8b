"""Classify chest X-rays with nothing but ONNX Runtime, NumPy and Pillow: classify_onnx.py MODEL.onnx IMAGE..."""

import json
import os
import platform
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

# Before the import, as ONNX Runtime sends usage data to Microsoft otherwise.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime

manifest = Path(sys.argv[1]).with_name("manifest.json")
if manifest.exists() and "cascade" in json.loads(manifest.read_text(encoding="utf-8")):
    sys.exit(f"{sys.argv[1]}: a model of a cascade, which cxr-edge predict runs as a whole; name one of another bundle")
options, cpu = onnxruntime.SessionOptions(), Path("/proc/cpuinfo")
if platform.machine() in ("x86_64", "AMD64") and not (cpu.exists() and "vnni" in cpu.read_text(encoding="utf-8")):
    # Without VNNI, ONNX Runtime's fastest int8 kernels add products in 16 bits, in which they do not fit.
    options.add_session_config_entry("session.x64quantprecision", "1")
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
metadata = json.loads(session.get_modelmeta().custom_metadata_map["cxr_edge"])
side = session.get_inputs()[0].shape[1]
size, bilinear = (side, side), Image.Resampling.BILINEAR
# Artifacts from before November 2026 have a sentence here: fit into ...
proportions_kept = metadata["imaging"]["resize"].startswith(("pad", "fit"))
for path in sys.argv[2:]:
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode not in ("L", "RGB", "RGBA"):
        sys.exit(f"{path}: mode {picture.mode} needs what cxr-edge predict does")
    grey = picture.convert("L")
    grey = ImageOps.pad(grey, size, bilinear, color=0) if proportions_kept else grey.resize(size, bilinear)
    image = np.asarray(grey)[None, :, :, None]
    probabilities = session.run(["probabilities"], {"image": image})[0][0]
    print(path, metadata["labels"][probabilities.argmax()], *(f"{value:.4f}" for value in probabilities), sep="\t")
