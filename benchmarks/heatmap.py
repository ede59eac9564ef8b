"""What the heat map costs, and where it lies: `python -m benchmarks.heatmap --run RUN`.

Latency of each artifact with and without the second output, interleaved in one run. For a run trained on phantoms, the
disease's place is known: one patient is drawn with the disease on the left and on the right lung alone, and the
difference of the two maps must follow it.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.benchmarking.latency import Candidate, measure
from cxr_edge.evaluation.reference_images import reference_images
from cxr_edge.exporting.export import Exporter, ExportOptions
from cxr_edge.exporting.recipe import Recipe
from cxr_edge.files import write_json
from cxr_edge.imaging.decode import resized
from cxr_edge.machine import describe_machine
from cxr_edge.phantoms.drawing import LABELS, draw_phantom
from cxr_edge.prediction.overlay import evidence
from cxr_edge.records import to_json
from cxr_edge.runs import find_run
from cxr_edge.runtimes.base import ArtifactSession, runtimes_for

PATIENTS = 40


def one_sided(session: ArtifactSession, size: int, label: str) -> dict[str, object]:
    """How often the map follows the disease to the other side, and how dense its mass is on the opacities.

    `density` is the mass's share on them divided by their share of the image; `density_both_sides` is that of the
    whole disease, in both lungs.
    """
    number = LABELS.index(label)
    follows, density, both = 0, [], []

    def dense(heatmap: NDArray[np.float32], opacity: NDArray[np.float32]) -> float:
        mass = evidence(heatmap, (opacity.shape[1], opacity.shape[0]))
        return float((mass * opacity).sum() / max(float(mass.sum()), 1e-9) / opacity.mean())

    for seed in range(PATIENTS):
        ill, well = draw_phantom(label, seed), draw_phantom("Normal", seed)
        middle = ill.pixels.shape[1] // 2
        maps = []
        for side in (slice(0, middle), slice(middle, None)):
            pixels, opacity = well.pixels.copy(), np.zeros_like(ill.opacity)
            pixels[:, side], opacity[:, side] = ill.pixels[:, side], ill.opacity[:, side]
            _, heatmap = session.explain(resized(Image.fromarray(pixels), size)[None, ..., None])
            maps.append(heatmap[0, ..., number])
            density.append(dense(maps[-1], opacity))
        _, whole = session.explain(resized(Image.fromarray(ill.pixels), size)[None, ..., None])
        both.append(dense(whole[0, ..., number], ill.opacity))
        difference, half = maps[0] - maps[1], maps[0].shape[1] // 2
        follows += bool(difference[:, :half].sum() > difference[:, -half:].sum())
    figures = {"density": float(np.mean(density)), "density_both_sides": float(np.mean(both))}
    return {"label": label, "patients": PATIENTS, "follows": follows, **figures}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    run = find_run(arguments.run)
    recipe = Recipe(tuple(ArtifactFormat), (Quantization.FLOAT32, Quantization.INT8_PTQ))
    exporters = [Exporter(run, ExportOptions(replace(recipe, heatmap=heatmap))) for heatmap in (False, True)]
    size = exporters[0].image_size
    rows, places = [], []
    with tempfile.TemporaryDirectory() as folder:
        pairs = []
        for quantization in recipe.quantize:
            for kind in recipe.formats:
                runtime = runtimes_for(kind)[0]
                pair = []
                for name, exporter in zip(("without", "with"), exporters, strict=True):
                    path = Path(folder) / f"{quantization}-{name}.{kind}"
                    path.write_bytes(exporter.converter.model_bytes(kind, quantization))
                    pair.append(Candidate(path.name, runtime.title, runtime.load(path, 1), 0.0))
                pairs.append((quantization, kind, pair))
                if run.phantoms:
                    for label in LABELS[:2]:
                        row = {"artifact": f"{quantization}.{kind}", **one_sided(pair[1].session, size, label)}
                        places.append(row)
                        print(row)
        measure(
            [candidate for _, _, pair in pairs for candidate in pair], reference_images(size), 200, arguments.seconds
        )
        for quantization, kind, (bare, mapped) in pairs:
            figures = [candidate.figures().p50_ms for candidate in (bare, mapped)]
            row = {"artifact": f"{quantization}.{kind}", "p50_ms": figures, "ratio": figures[1] / figures[0]}
            rows.append(row)
            print(f"{row['artifact']}: {figures[0]:.3f} ms without, {figures[1]:.3f} with, ratio {row['ratio']:.4f}")
    if arguments.json:
        record = {
            "machine": to_json(describe_machine()),
            "image_size": size,
            "threads": 1,
            "latency": rows,
            "places": places,
        }
        write_json(arguments.json, record)


if __name__ == "__main__":
    main()
