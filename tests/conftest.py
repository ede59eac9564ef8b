"""A phantom run and a small one, each trained, fine-tuned and exported once, and a way to type commands."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_edge.artifacts.bundle import read_manifest
from cxr_edge.cli import main
from cxr_edge.data.layouts import DataSet
from cxr_edge.data.split import Split, run_split
from cxr_edge.data.store import ImageStore
from cxr_edge.errors import GateError
from cxr_edge.evaluation.conditions import Scope
from cxr_edge.evaluation.metrics import classification_metrics
from cxr_edge.evaluation.run_metrics import RunMetrics
from cxr_edge.evaluation.temperature import apply_temperature
from cxr_edge.imaging.rule import STRETCH
from cxr_edge.runs import Run
from cxr_edge.runs.history import History
from cxr_edge.runs.network import XCEPTION
from cxr_edge.runs.progress import SILENT, Progress
from cxr_edge.runtimes.accelerators import Reply, Request
from cxr_edge.training.result import TrainingResult
from cxr_edge.training.splitting import Examined, examine, make_split
from tests.schemas import check_written

if TYPE_CHECKING:
    from cxr_edge.quantization.graph import Graph
    from cxr_edge.quantization.quantized_graph import QuantizedGraph, Ranges


#: The file whose tests train and export the model. Those that take long with it come next, so that no worker is left
#: with a long one at the end.
FIRST, LONG = "test_artifacts", ("test_cascade", "test_bench", "test_device", "test_gpu", "test_heatmap")
#: Fixtures with the model that learned the phantoms, and with a small one of the same kinds of layers.
MODEL, SMALL = {"run", "bundle"}, {"small_run", "small_bundle"}


# Before xdist's own hook, which names the groups.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests that need the trained model `model`, so that `make check` skips them; run `exhaustive` only by name.

    Of several workers (`--dist loadgroup`), one trains the model first, while the others run the files that do not need
    it. Those that do follow, one group per file for the next free worker; each worker gets a copy of the model.
    """
    if "exhaustive" not in config.option.markexpr:
        items[:] = [item for item in items if item.get_closest_marker("exhaustive") is None]
    items.sort(key=_turn)
    for item in items:
        group = item.path.stem
        if _needs(item, MODEL):
            item.add_marker("model")
            group += " with the model"
        if _needs(item, SMALL):
            item.add_marker("slow")
        item.add_marker(pytest.mark.xdist_group(group))


def _turn(item: pytest.Item) -> int:
    if not _needs(item, MODEL):
        return 1
    stem = item.path.stem
    return 0 if stem == FIRST else 2 + LONG.index(stem) if stem in LONG else 2 + len(LONG)


def _needs(item: pytest.Item, fixtures: set[str]) -> bool:
    return bool(fixtures & set(getattr(item, "fixturenames", ())))


@dataclass(frozen=True)
class Outcome:
    """What a command left: its exit status and what it printed."""

    code: int
    out: str
    err: str


def type_command(arguments: list[str]) -> int:
    """Run the command line in this process, as the installed program would; its exit status.

    What it writes for other programs is checked against its JSON Schema, whatever the test is about.
    """
    before = sys.argv
    sys.argv = ["cxr-edge", *arguments]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    finally:
        sys.argv = before
    if arguments and code in (0, GateError.exit_code):
        check_written(arguments)
    return code


Cli = Callable[..., Outcome]

#: Demands that every artifact meets: int8 of so small a model may lose a class under shift, and what a gate says is a
#: subject of its own tests.
ANY_GATE = (
    *("--min-agreement", "0.5", "--max-accuracy-drop", "0.5", "--max-sensitivity-drop", "1"),
    *("--max-class-loss", "1", "--min-shifted-agreement", "0"),
)


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """`cli("verify", "--run", folder)`."""

    def call(*arguments: object) -> Outcome:
        capfd.readouterr()
        code = type_command([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        return Outcome(code, captured.out, captured.err)

    return call


def examined(data: DataSet) -> Examined:
    """Decode a data set's images at 71 px and look for copies, as `train` does."""
    store = ImageStore(71, STRETCH)
    digests, bad = store.add([data.root / item.path for item in data.items], fingerprints=True)
    assert not bad
    return examine(data, store.fingerprints(digests))


def heed_interrupts() -> None:
    """Restore SIGINT in a child before its program starts: a background process ignores it, and its children inherit
    that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def split_of(data: DataSet, seed: int, **shares: Any) -> Split:
    """The split that `train` would make."""
    return make_split(data, examined(data), seed, **shares)


@pytest.fixture(scope="session", autouse=True)
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["CXR_EDGE_CACHE"] = str(tmp_path_factory.mktemp("cache"))


class _NoWorker:
    """Stands in for a worker process: every request succeeds."""

    def ask(self, request: Request) -> Reply:
        return Reply()

    def close(self) -> None:
        pass


@pytest.fixture(scope="session", autouse=True)
def no_trials() -> Iterator[None]:
    """Each file that a test makes is new to the machine, and its trial takes a second: test_trial does without this."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cxr_edge.runtimes.trial.start_worker", _NoWorker)
        yield


@contextmanager
def few_images() -> Iterator[None]:
    """Exports do all that they do, on fewer images.

    They are verified on 12 images under each shift instead of 120, calibrated on 128 of the 378 training images, and
    their fine-tuning judges itself by 32 images instead of 81.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Scope, "of_export", lambda phantoms: Scope({"test": None, "validation": None}, {"validation": 6, "test": 6})
        )
        for name, images in (
            ("quantized_run.CALIBRATION_IMAGES", 128),
            ("judge.MOST_JUDGED", 32),
        ):
            patch.setattr(f"cxr_edge.quantization.{name}", images)
        yield


@contextmanager
def plain_rounding() -> Iterator[None]:
    """Kernels are rounded to nearest, not by their inputs, which takes two thirds of a calibration on few images.

    For tests of an artifact's structure; its accuracy is tested on the bundle and in `test_quantization`.
    """
    from cxr_edge.quantization.kernels import nearest
    from cxr_edge.quantization.quantized_graph import QuantizedGraph

    def round_kernels(graph: Graph, ranges: Ranges, *others: object) -> QuantizedGraph:
        nodes = (
            replace(node, kernel=nearest(node)) if node.kernel is not None and not node.in_float else node
            for node in graph.nodes
        )
        return QuantizedGraph(replace(graph, nodes=tuple(nodes)), ranges)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cxr_edge.quantization.quantized_run.round_kernels", round_kernels)
        yield


@pytest.fixture(autouse=True)
def exports_on_few_images(request: pytest.FixtureRequest) -> Iterator[None]:
    with few_images() if _needs(request.node, MODEL | SMALL) else nullcontext():
        yield


def _copied(shared: Path, folder: Path, make: Callable[[], None]) -> None:
    """Make a folder, or copy it from the worker that was the first to make it, waiting for that one."""
    shared.parent.mkdir(exist_ok=True)
    with shared.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not shared.exists():
            make()
            shutil.copytree(folder, shared.with_suffix(".new"))
            shared.with_suffix(".new").rename(shared)
            return
    shutil.copytree(shared, folder, dirs_exist_ok=True)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that the workers of this session share."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, cache_of_its_own: None, shared: Path) -> Run:
    """A run trained on phantoms with the defaults of a bare `cxr-edge train`: it takes minutes and really learns them.

    Its network has two of Xception's eight middle blocks, which are all alike, and three quarters of its channels: a
    third of the arithmetic.

    To work on later stages without training, name such a run in `CXR_EDGE_TEST_RUN`; it is copied instead.
    """
    folder = tmp_path_factory.mktemp("runs") / "phantoms"
    if trained := os.environ.get("CXR_EDGE_TEST_RUN"):
        return Run(Path(shutil.copytree(trained, folder)))

    def train() -> None:
        network = XCEPTION.without(range(7, 13))
        narrower = {group: width * 3 // 4 // 8 * 8 for group, width in network.widths().items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("cxr_edge.training.start.XCEPTION", network.with_widths(narrower))
            assert type_command(["train", "--run", str(folder)]) == 0

    _copied(shared / "trained", folder, train)
    return Run(folder)


@pytest.fixture(scope="session")
def bundle(run: Run, shared: Path) -> Path:
    """Every artifact of the run: two formats in four quantizations."""

    def export() -> None:
        with few_images():
            # Of the usual 60 steps, enough to see both halves of the fine-tuning gain something.
            options = ("--quantize", "all", "--qat-steps", "20", *ANY_GATE)
            assert type_command(["export", "--run", str(run.folder), *options]) == 0

    _copied(shared / "exported", run.folder, export)
    return run.bundle


@pytest.fixture(scope="session")
def small_run(tmp_path_factory: pytest.TempPathFactory, cache_of_its_own: None, shared: Path) -> Run:
    """A network of Xception's kinds of layers, trained on few phantoms: for what is true of any run, in seconds."""
    from tests.small_network import use_small_network

    folder = tmp_path_factory.mktemp("small") / "run"
    # It learns them on every processor: with the usual rate and 10 epochs, on some it did not.
    learning = ("--epochs", "14", "--learning-rate", "0.006")
    options = ("--phantoms", "60", *learning, "--batch-size", "8", "--seed", "1")

    def train() -> None:
        with pytest.MonkeyPatch.context() as patch:
            use_small_network(patch)
            assert type_command(["train", "--run", str(folder), *options]) == 0

    _copied(shared / "small-trained", folder, train)
    return Run(folder)


@pytest.fixture(scope="session")
def small_bundle(small_run: Run, shared: Path) -> Path:
    """Every artifact of the small run."""

    def export() -> None:
        options = ("--quantize", "all", "--qat-steps", "4", *ANY_GATE)
        with few_images(), plain_rounding():
            assert type_command(["export", "--run", str(small_run.folder), *options]) == 0

    _copied(shared / "small-exported", small_run.folder, export)
    return small_run.bundle


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that works, of a model that was never trained; in seconds."""
    from tests.tiny import write_bundle

    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle")


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A private key and its public one."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    folder, key = tmp_path_factory.mktemp("keys"), Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for name, content in (("key.pem", private), ("key.pub", public)):
        (folder / name).write_bytes(content)
    return folder / "key.pem", folder / "key.pub"


@pytest.fixture
def device(bundle: Path, tmp_path: Path) -> Path:
    """The bundle as a device gets it: a folder by itself."""
    return Path(shutil.copytree(bundle, tmp_path / "device"))


#: A probability was moved by up to 0.021 by rounding: on one of 200 phantoms, between ONNX Runtime's kernels for
#: WebAssembly and its native ones.
_ROUNDING = 0.03


def assert_same_answers(bundle: Path, probabilities: NDArray[np.float32], expected: NDArray[np.float32]) -> None:
    """Assert that probabilities `[N, K]` of one bundle differ only by rounding, and that hardly any class changes.

    The temperature is removed first: fitted on few images that are all right, it is low, and turns a step of an int8
    logit into several hundredths of a probability.
    """
    temperature = read_manifest(bundle).shared.temperature
    plain, other = (apply_temperature(rows, 1 / temperature) for rows in (probabilities, expected))
    assert np.abs(plain - other).max() <= _ROUNDING
    # Where two classes are close, each moved by rounding, the other one may come out.
    moved = np.count_nonzero(plain.argmax(axis=1) != other.argmax(axis=1))
    assert moved <= max(1, len(plain) // 50)


def know_everything(run: Run, progress: Progress = SILENT) -> TrainingResult:
    """In place of minutes of training: the metrics of a model that is always right. Nothing is written."""
    config, split = run.config(), run_split(run)
    targets = split.targets("test")
    metrics = classification_metrics(targets, np.eye(len(split.labels))[targets], split.labels)
    return TrainingResult(
        run, RunMetrics(data=config.training_data, precision_policy="float32", metrics=metrics), History(())
    )


@pytest.fixture
def instant_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cxr_edge.training.train.train", know_everything)


@pytest.fixture
def started(cli: Cli, instant_training: None) -> Callable[..., Any]:
    """`cxr-edge train`, but for the training itself."""

    def start(*arguments: object) -> Any:
        return cli("train", "--weights", "none", "--image-size", "71", *arguments)

    return start
