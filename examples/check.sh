#!/usr/bin/env bash
# Install what the Node.js and C examples need, build and run them, and compare them with `cxr-edge predict`.
#
#   examples/check.sh BUNDLE [DIR]
#
# Needs cxr-edge, Node.js with npm, a C compiler and make, on Linux. DIR keeps what is installed, some 350 MB, and
# `CXR_EDGE_EXAMPLES=DIR pytest tests/test_examples_more.py` then runs both without a network. Without DIR it goes to a
# temporary folder.
set -euo pipefail

bundle=$(realpath "${1:?usage: examples/check.sh BUNDLE [DIR]}")
model=$bundle/xception-int8.onnx
examples=$(dirname "$(realpath "$0")")
python=${PYTHON:-python3}
if [ $# -gt 1 ]; then
  mkdir -p "$2"
  folder=$(realpath "$2")
else
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
fi
images=$(mktemp -d -p "$folder")

echo "Node.js: installing"
cp "$examples"/nodejs/* "$folder"
npm --prefix "$folder" install --ignore-scripts --no-package-lock --no-audit --no-fund --silent

echo "C: building"
# The library is the one that onnxruntime-node brings. Neither it nor ONNX Runtime's wheel brings the headers; this
# package, for Unity, has them as Microsoft ships them for iOS. They ask for API 29, which 1.30 has.
if [ ! -f "$folder/ort/include/onnxruntime_c_api.h" ]; then
  archive=$(cd "$folder" && npm pack --silent com.github.asus4.onnxruntime@0.4.9)
  mkdir -p "$folder/ort/include"
  tar -xzf "$folder/$archive" -C "$folder/ort/include" --strip-components=7 --wildcards \
    'package/Plugins/iOS~/onnxruntime.xcframework/ios-arm64/onnxruntime.framework/Headers/*.h'
  rm "$folder/$archive"
fi
mkdir -p "$folder/ort/lib"
cp "$folder/node_modules/onnxruntime-node/bin/napi-v6/linux/$(node -p process.arch)/libonnxruntime.so.1" "$folder/ort/lib/"
ln -sf libonnxruntime.so.1 "$folder/ort/lib/libonnxruntime.so"
cp "$examples"/c/* "$folder"
make --silent --always-make -C "$folder" ORT="$folder/ort"

"$python" -m cxr_edge phantom "$images/phantoms" --images 8 --seed 7
# Some three times as tall as wide: Pillow resizes their axes in the other order.
"$python" - "$images" <<'END'
import sys
from pathlib import Path
from PIL import Image

folder = Path(sys.argv[1])
for path in sorted((folder / "phantoms").glob("*/*.png")):
    grey = Image.open(path).convert("L")
    grey.save(folder / f"{path.stem}.pgm")
    # predict reads no PGM, but the same pixels as PNG.
    for suffix in ("pgm", "png"):
        grey.resize((300, 900)).save(folder / f"{path.stem}-high.{suffix}")
    # A tint, as of a photographed film: a picture of many colours is refused by predict.
    tinted = (grey, grey.point([value * 15 // 16 for value in range(256)]), grey.point([value * 7 // 8 for value in range(256)]))
    Image.merge("RGB", tinted).save(folder / f"{path.stem}.jpg")
    path.rename(folder / path.name)
END

compare() {  # NAME LINES IMAGE...: lines that an example printed about images, or about the same pixels in other files
  local name=$1 lines=$2
  shift 2
  "$python" -m cxr_edge predict "$@" --artifact "$model" --runtime onnx --json "$images/predict.json" >/dev/null
  "$python" - "$name" "$lines" "$images/predict.json" <<'END'
import json
import sys
from pathlib import Path

name, lines, predicted = sys.argv[1], Path(sys.argv[2]).read_text().splitlines(), Path(sys.argv[3]).read_text()
rows = json.loads(predicted)["rows"]
largest = 0.0
for line, row in zip(lines, rows, strict=True):
    path, label, *values = line.split("\t")
    largest = max([largest, *(abs(float(a) - b) for a, b in zip(values, row["probabilities"], strict=True))])
    if (Path(path).stem, label) != (Path(row["file"]).stem, row["label"]) or largest > 1e-3:
        sys.exit(f"{name}: {line}\ncxr-edge predict: {row}")
print(f"{name}: {len(rows)} images, labels as cxr-edge predict, largest difference of a probability {largest:.5f}")
END
}

node "$folder/classify.mjs" "$model" "$images"/*.png "$images"/*.jpg >"$images/node.tsv"
compare Node.js "$images/node.tsv" "$images"/*.png "$images"/*.jpg
"$folder/classify" "$model" "$images"/*.pgm >"$images/c.tsv"
compare C "$images/c.tsv" "$images"/*.png
rm -r "$images"
