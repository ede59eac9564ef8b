"""Training on several workers: what is refused before it starts, and that two workers train as one does."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from cxr_edge.choices import Strategy
from cxr_edge.errors import OptionError, RunError
from cxr_edge.runs import Run
from cxr_edge.runs.history import read_history
from cxr_edge.train_options import completed
from cxr_edge.training.cluster import VARIABLE, Cluster, cluster_of_environment
from tests.conftest import Cli


def free_addresses(count: int) -> list[str]:
    sockets = [socket.create_server(("localhost", 0)) for _ in range(count)]
    addresses = [f"localhost:{own.getsockname()[1]}" for own in sockets]
    for own in sockets:
        own.close()
    return addresses


def config_of(addresses: list[str], index: int) -> str:
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})


def test_the_first_worker_is_the_chief_unless_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, config_of(["a:1", "b:2"], 0))
    assert cluster_of_environment() == Cluster(("a:1", "b:2"), 0)
    assert cluster_of_environment().is_chief
    named = {"cluster": {"chief": ["c:3"], "worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}
    monkeypatch.setenv(VARIABLE, json.dumps(named))
    assert cluster_of_environment() == Cluster(("c:3", "a:1", "b:2"), 2)


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        config_of(["a:1"], 1),
        config_of(["a"], 0),
        config_of(["a:65536"], 0),
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_configuration_that_describes_no_cluster_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, text)
    with pytest.raises(OptionError, match=VARIABLE):
        cluster_of_environment()


def test_workers_need_a_cluster_a_shared_folder_and_one_run(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    alone = cli("train", "--strategy", "multi-worker", "--run", tmp_path / "run")
    assert alone.code == 2
    assert "needs the environment variable TF_CONFIG" in alone.err
    assert not (tmp_path / "run").exists()
    assert "needs --run" in cli("train", "--strategy", "multi-worker").err
    with pytest.raises(OptionError, match="with --fold"):
        completed({"strategy": "multi-worker", "folds": 5})
    assert completed({"strategy": "multi-worker", "folds": 5, "fold": 2}).strategy is Strategy.MULTI_WORKER


def test_workers_wait_for_each_other_and_name_who_cannot_be_reached() -> None:
    addresses = free_addresses(2)
    first, second = (Cluster(tuple(addresses), index) for index in (0, 1))
    with pytest.raises(RunError, match=rf"worker 0 of 2: cannot reach {addresses[1]} within 1 s"):
        first.wait_for_peers(1)
    enough = threading.Event()

    def join_late() -> None:
        second.wait_for_peers(20)
        # From here on, TensorFlow listens.
        with socket.create_server(("", int(addresses[1].split(":")[1]))):
            enough.wait(20)

    late = threading.Timer(0.3, join_late)
    late.start()
    first.wait_for_peers(20)
    with pytest.raises(OptionError, match=f"port {addresses[1].split(':')[1]} of this worker is not free"):
        second.wait_for_peers(1)
    enough.set()
    late.join()


def test_waiting_for_workers_shuts_no_listening_socket_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """macOS and Windows refuse that, which would hide who cannot be reached."""

    def refused(listening: socket.socket, how: int) -> None:
        raise OSError(errno.ENOTCONN, "Socket is not connected")

    monkeypatch.setattr(socket.socket, "shutdown", refused)
    addresses = free_addresses(2)
    with pytest.raises(RunError, match=f"cannot reach {addresses[1]}"):
        Cluster(tuple(addresses), 0).wait_for_peers(0)
    Cluster(tuple(addresses[:1]), 0).wait_for_peers(1)


def test_a_lost_worker_does_not_mean_that_there_is_something_to_resume() -> None:
    """A run that ends within its first epoch is removed."""
    from cxr_edge.training.backend import tf
    from cxr_edge.training.strategy import Distribution

    with (
        pytest.raises(RunError, match="with --resume if an epoch was finished"),
        Distribution(cluster=Cluster(("a:1", "b:2"), 1)).watching(),
    ):
        raise tf.errors.UnavailableError(None, None, "Socket closed")


def test_the_shares_of_a_batch_are_the_batch_augmented_alike() -> None:
    from types import SimpleNamespace

    from cxr_edge.training.batches import Batches, Share
    from cxr_edge.training.strategy import Distribution

    random = np.random.default_rng(0)
    images = random.integers(0, 256, (13, 12, 12, 1), dtype=np.uint8)
    batches = Batches(images, np.arange(13), 13, batch_size=6, seed=3)
    whole = list(batches.epoch(2).as_numpy_iterator())
    # Of three replicas, the first worker has two.
    first = list(batches.epoch(2, Share(0, 2, 3)).as_numpy_iterator())
    second = list(batches.epoch(2, Share(2, 1, 3)).as_numpy_iterator())
    assert (len(whole), len(first), len(second)) == (2, 4, 2)
    for step, batch in enumerate(whole):
        for part, share in enumerate((first[2 * step], first[2 * step + 1], second[step])):
            for values, own in zip(batch, share, strict=True):
                assert np.array_equal(own, values[part::3])
    Distribution(SimpleNamespace(num_replicas_in_sync=3)).check(batches)
    with pytest.raises(OptionError, match="--batch-size 6: must be a multiple of 4, the number of replicas"):
        Distribution(SimpleNamespace(num_replicas_in_sync=4)).check(batches)


OPTIONS = ("--phantoms", 12, "--image-size", 71, "--batch-size", 8, "--head-epochs", 1, "--seed", 1)


class Workers:
    """Two workers on this machine, in processes of their own."""

    def __init__(self) -> None:
        self.addresses = free_addresses(2)
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, *arguments: object) -> None:
        self.processes = [self._started(arguments, {VARIABLE: config_of(self.addresses, index)}) for index in (0, 1)]

    def alone(self, *arguments: object, replicas: int = 1) -> None:
        """A single process that trains with `--strategy mirrored`, to its end."""
        process = self._started((*arguments, "--strategy", "mirrored"), {"MIRRORED_ON": str(replicas)})
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors

    def _started(self, arguments: tuple[object, ...], variables: Mapping[str, str]) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.workers", *map(str, arguments)]
        environment = {**os.environ, **variables}
        return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ends(self) -> list[tuple[int, str]]:
        """The exit status of each worker, and what it wrote to stderr."""
        errors = [process.communicate(timeout=300)[1] for process in self.processes]
        return [(process.returncode, text) for process, text in zip(self.processes, errors, strict=True)]

    def kill(self) -> None:
        for process in self.processes:
            process.kill()


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers()
    yield workers
    workers.kill()


def weights_of(run: Run) -> dict[str, Any]:
    """Each array of a model's weights, by its name."""
    arrays: dict[str, Any] = {}
    with h5py.File(run.model_file) as file:

        def keep(name: str, entry: Any) -> None:
            if isinstance(entry, h5py.Dataset):
                arrays[name] = entry[()]

        file["model_weights"].visititems(keep)
    return arrays


def assert_trained_alike(first: Run, second: Run) -> None:
    """Histories and weights differ by rounding alone."""
    for ours, theirs in zip(
        read_history(first.history_file).epochs, read_history(second.history_file).epochs, strict=True
    ):
        assert (ours.phase, ours.epoch) == (theirs.phase, theirs.epoch)
        assert theirs.loss == pytest.approx(ours.loss, rel=1e-5)
        assert theirs.validation_loss == pytest.approx(ours.validation_loss, rel=1e-5)
    weights, others = weights_of(first), weights_of(second)
    assert weights.keys() == others.keys()
    for name, values in weights.items():
        assert np.allclose(others[name], values, rtol=1e-4, atol=1e-5), name


@pytest.mark.exhaustive
def test_two_workers_train_as_one_does_and_write_the_same_files(tmp_path: Path, workers: Workers) -> None:
    single, two, mirrored = (Run(tmp_path / name) for name in ("single", "two", "mirrored"))
    workers.alone("train", *OPTIONS, "--epochs", 2, "--run", single.folder)
    workers.start("train", *OPTIONS, "--epochs", 2, "--strategy", "multi-worker", "--run", two.folder)
    assert [code for code, _ in workers.ends()] == [0, 0]
    assert sorted(path.name for path in two.folder.iterdir()) == sorted(path.name for path in single.folder.iterdir())
    assert_trained_alike(single, two)
    workers.alone("train", *OPTIONS, "--epochs", 2, "--run", mirrored.folder, replicas=2)
    assert_trained_alike(single, mirrored)


@pytest.mark.exhaustive
def test_data_that_cannot_be_used_ends_every_worker(tmp_path: Path, workers: Workers) -> None:
    run = tmp_path / "run"
    workers.start("train", "--data", tmp_path / "nowhere", "--strategy", "multi-worker", "--run", run)
    (chief, why), (other, lost) = workers.ends()
    assert (chief, other) == (2, 2)
    assert "nowhere" in why
    assert "lost another worker" in lost
    assert not run.exists()


@pytest.mark.exhaustive
def test_a_run_that_lost_a_worker_continues_after_its_last_epoch(tmp_path: Path, workers: Workers) -> None:
    whole, killed = Run(tmp_path / "whole"), Run(tmp_path / "killed")
    workers.start("train", *OPTIONS, "--epochs", 3, "--strategy", "multi-worker", "--run", whole.folder)
    assert [code for code, _ in workers.ends()] == [0, 0]
    workers.start("train", *OPTIONS, "--epochs", 3, "--strategy", "multi-worker", "--run", killed.folder)
    state, end = killed.checkpoints / "fine-tuning.json", time.monotonic() + 300
    while not state.exists() and time.monotonic() < end:
        time.sleep(0.05)
    workers.processes[1].kill()
    (code, errors), _ = workers.ends()
    assert code == 2
    assert "lost another worker" in errors
    assert "Traceback" not in errors
    assert not killed.model_file.exists()
    workers.start("train", "--resume", "--run", killed.folder)
    assert [code for code, _ in workers.ends()] == [0, 0]
    first, second = read_history(whole.history_file), read_history(killed.history_file)
    assert [epoch.epoch for epoch in second.epochs] == [1, 1, 2, 3]
    assert [epoch.loss for epoch in second.epochs] == pytest.approx([epoch.loss for epoch in first.epochs], rel=1e-4)
