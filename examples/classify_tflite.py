"""Classify chest X-rays with nothing but LiteRT, NumPy and Pillow: classify_tflite.py MODEL.tflite IMAGE..."""

import sys
import zipfile

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image, ImageOps

labels = zipfile.ZipFile(sys.argv[1]).read("labels.txt").decode().splitlines()
interpreter = Interpreter(sys.argv[1])
classify = interpreter.get_signature_runner()
size = interpreter.get_input_details()[0]["shape"][1]
for path in sys.argv[2:]:
    picture = ImageOps.exif_transpose(Image.open(path))
    if picture.mode not in ("L", "RGB", "RGBA"):
        sys.exit(f"{path}: mode {picture.mode} needs what cxr-edge predict does")
    grey = picture.convert("L").resize((size, size), Image.Resampling.BILINEAR)
    probabilities = classify(image=np.asarray(grey)[None, :, :, None])["probabilities"][0]
    print(path, labels[probabilities.argmax()], *(f"{value:.4f}" for value in probabilities), sep="\t")
