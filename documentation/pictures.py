"""The pictures of the documentation that need a trained run: `python -m documentation.pictures RUN`.

RUN must be trained on phantoms, since no other images may be shown, and have a bundle and a `report.html`, as after
`cxr-edge demo`. Headless Chromium takes the screenshots.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from pathlib import Path

from PIL import Image

from cxr_edge.files import replacing
from cxr_edge.runs import Run
from documentation.pages import DOCS

#: Size of a picture's palette: enough for a page of text and curves, in half the bytes.
_COLOURS = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    run = Run(parser.parse_args().run)
    if not run.phantoms:
        raise SystemExit(f"{run.folder}: not trained on phantoms; the documentation shows no patient")
    with tempfile.TemporaryDirectory() as folder:
        audit = Path(folder) / "audit.html"
        subprocess.run(["cxr-edge", "audit", run.phantoms_folder, "--html", audit], check=True)
        heat_map = Path(folder) / "heat-map.png"
        image = sorted((run.phantoms_folder / "COVID-19").iterdir())[0]
        artifact = run.bundle / "xception-int8.tflite"
        subprocess.run(["cxr-edge", "predict", image, "--artifact", artifact, "--heatmap", heat_map], check=True)
        _write(Image.open(heat_map), "heat-map.png")
        _write(Image.open(run.folder / "learning_curves.png"), "learning-curves.png")
        for page, height, name in ((run.folder / "report.html", 1240, "report.png"), (audit, 1100, "audit-page.png")):
            shot = Path(folder) / name
            _take_screenshot(page, shot, 960, height)
            _write(Image.open(shot), name)


def _take_screenshot(page: Path, target: Path, width: int, height: int) -> None:
    """Write a PNG of the top of a page, `width` by `height` pixels."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no chromium on this machine: apt-get install chromium")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--window-size={width},{height}"]
    subprocess.run([browser, *options, f"--screenshot={target}", page.resolve().as_uri()], check=True, timeout=300)


def _write(picture: Image.Image, name: str) -> None:
    """Write a picture into the documentation, with a reduced palette."""
    with replacing(DOCS / name) as temporary:
        picture.convert("RGB").quantize(_COLOURS).save(temporary, format="PNG", optimize=True)
    print(f"docs/{name}: {(DOCS / name).stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
