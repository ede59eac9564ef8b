"""The live demo of the site, the page of `cxr-edge web` on phantoms: `python -m documentation.live_demo`.

A network of a fraction of Xception's size is trained on phantoms, quantized and written into `live-demo/`, from where
`mkdocs build` takes it. Needs TensorFlow and the page that `make web` builds.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from cxr_edge.artifacts.artifact import Artifact
from cxr_edge.artifacts.bundle import read_bundle
from cxr_edge.artifacts.kinds import ArtifactFormat, Quantization
from cxr_edge.choices import Precision
from cxr_edge.runs import Run
from cxr_edge.runs.network import XCEPTION, Block, Network
from cxr_edge.train_options import completed
from cxr_edge.web.folder import MODEL, write_page
from cxr_edge.web.page import built_page

LIVE_DEMO = Path(__file__).parents[1] / "live-demo"
NETWORK = Network(
    (
        Block(1, (16, 16)),
        Block(2, (32, 32)),
        Block(3, (48, 48)),
        Block(4, (64, 64)),
        *(Block(number, (64, 64, 64)) for number in (5, 6)),
        Block(13, (64, 96)),
        Block(14, (96, 128)),
    )
)
#: As few phantoms and epochs as it takes to tell most of the test phantoms apart.
_TRAINING = {
    "phantoms": 60,
    "epochs": 24,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "precision": Precision.FLOAT32,
    "seed": 1,
}


def fraction_of_xception(image_size: int) -> int:
    """Xception's multiply-accumulates divided by the network's, rounded."""
    return round(XCEPTION.macs(image_size) / NETWORK.macs(image_size))


def trained(folder: Path) -> Run:
    """A run with the small network, on phantoms."""
    from cxr_edge.training.jobs import train_new

    return train_new(Run(folder), completed(_TRAINING), network=NETWORK).run


def exported(run: Run) -> Artifact:
    """The int8 ONNX file of a run, not fine-tuned, since that takes longer than the training."""
    from cxr_edge.exporting.export import Exporter, ExportOptions
    from cxr_edge.exporting.recipe import Recipe

    recipe = Recipe((ArtifactFormat.ONNX,), (Quantization.INT8_PTQ,))
    return Exporter(run, ExportOptions(recipe)).export().artifacts[0]


def introduction(folder: Path) -> str:
    """The site's text about the demo in a folder, whose model differs from build to build."""
    (artifact,) = read_bundle(folder / MODEL)
    assert artifact.parity is not None
    result = artifact.parity.result
    right = round((result.accuracy or 0.0) * result.images)
    return (
        f"**[Open the live demo]({LIVE_DEMO.name}/index.html)** and press *Try it with phantoms*. Its model was "
        f"trained for seconds, on phantoms, when this site was built: 1/{fraction_of_xception(artifact.image_size)} of "
        f"Xception's multiply-accumulates in {artifact.bytes / 1e6:.1f} MB, right on {right} of {result.images} test "
        "phantoms. It shows how the page works; its answers on X-rays mean nothing."
    )


def main() -> None:
    page = built_page()
    with tempfile.TemporaryDirectory() as folder:
        artifact = exported(trained(Path(folder) / "run"))
        shutil.rmtree(LIVE_DEMO, ignore_errors=True)
        warning = (
            f"{artifact.name}: is a demo with 1/{fraction_of_xception(artifact.image_size)} of Xception's "
            "multiply-accumulates, trained for seconds; it shows how this page works, not how well a model reads X-rays"
        )
        written = write_page(page, (artifact,), LIVE_DEMO, (warning,))
    size = written.page_bytes + written.runtime_bytes + written.model_bytes
    print(f"{LIVE_DEMO.name}/: {size / 1e6:.1f} MB, of which the model takes {written.model_bytes / 1e6:.2f}")


if __name__ == "__main__":
    main()
