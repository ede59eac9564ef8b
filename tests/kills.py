"""Whole commands, killed again and again until they have ended: `python -m tests.kills JOB FOLDER KILLS SEED [full]`.

A command is killed at a random moment, by time or before a random change of its folder, and started again until it ends
by itself; what is there then is compared with what a command left that nobody killed. Prints JSON. With `full` the
network is Xception, else one of its kinds of layers that trains in a second.

The commands run in forked children, because TensorFlow takes seconds to import.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

WHOLE = "whole"
_TRAIN = ("--weights", "none", "--image-size", "71", "--batch-size", "8", "--epochs", "3", "--seed", "1")
_EXPORT = ("--format", "tflite", "--quantize", "int8", "--qat-steps", "8", "--no-heatmap")
_CHANGES = ("os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.truncate", "shutil.rmtree")


@dataclass(frozen=True)
class Job:
    """A command in a folder.

    Attributes:
        arguments: of the command line; `data` holds images, `trained` a finished run, `folder` is what it works in.
        verdict: what a kill left: `WHOLE`, or what is wrong.
        result: names what it leaves at its end, each with a digest.
        prepare: puts what it takes into the folder, before the first start.
    """

    arguments: Callable[[Path, Path], list[object]]
    verdict: Callable[[Path], str]
    result: Callable[[Path], dict[str, str]]
    prepare: Callable[[Path, Path], None] = lambda material, folder: folder.mkdir()


def _train(material: Path, folder: Path) -> list[object]:
    if (folder / "run.json").exists():
        return ["train", "--resume", "--run", folder]
    return ["train", "--data", material / "data", "--run", folder, *_TRAIN]


def _folds(material: Path, folder: Path) -> list[object]:
    if (folder / "fold-1" / "run.json").exists():
        return ["train", "--resume", "--run", folder]
    return ["train", "--data", material / "data", "--run", folder, *_TRAIN, "--folds", 2]


def _shrink(material: Path, folder: Path) -> list[object]:
    if (folder / "run.json").exists():
        return ["train", "--resume", "--run", folder]
    return ["shrink", material / "run", "--run", folder, "--macs", "0.5", "--epochs", "3"]


def _records_verdict(folder: Path) -> str:
    """Raises ValueError for half a record. What has the name of one is whole; temporary files have others."""
    for path in folder.rglob("*.json"):
        if not path.name.startswith("."):
            json.loads(path.read_text())
    return WHOLE


def _run_verdict(folder: Path) -> str:
    """Records that are there can be read, and the model is not there without its metrics and history."""
    import h5py

    _records_verdict(folder)
    for model in folder.rglob("model.h5"):
        with h5py.File(model):
            pass
        for name in ("metrics.json", "history.json", "predictions.csv"):
            if not (model.parent / name).exists():
                return f"a model without {name}"
    return WHOLE


def _run_result(folder: Path) -> dict[str, str]:
    import h5py

    digests = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.name == "model.h5":
            weights = hashlib.sha256()

            def add(_: str, part: object, weights: hashlib._Hash = weights) -> None:
                if isinstance(part, h5py.Dataset):
                    weights.update(np.asarray(part).tobytes())

            with h5py.File(path) as file:
                file.visititems(add)
            digests[name] = weights.hexdigest()
        elif path.name == "run.json":
            config = json.loads(path.read_text())
            del config["started"]
            digests[name] = _digest(json.dumps(config).encode())
        elif path.is_file() and path.suffix != ".png":
            digests[name] = _digest(path.read_bytes())
    return digests


def _exported_result(folder: Path) -> dict[str, str]:
    files = [*folder.glob("bundle/*"), *folder.glob("quantized/**/*"), *folder.glob(".*"), *folder.glob("checkpoints")]
    return {str(path.relative_to(folder)): _digest(path.read_bytes()) for path in sorted(files) if path.is_file()}


def _bundle_verdict(folder: Path) -> str:
    from tests.interruption_jobs import bundle_verdict

    verdict = bundle_verdict(folder / "bundle")
    return WHOLE if verdict == "no manifest" else verdict


def _audit_result(folder: Path) -> dict[str, str]:
    record = json.loads((folder / "audit.json").read_text())
    record.pop("date", None)
    return {"audit.json": _digest(json.dumps(record).encode()), "page": str((folder / "audit.html").exists())}


def _bench_result(folder: Path) -> dict[str, str]:
    rows = json.loads((folder / "bench.json").read_text())["rows"]
    return {"rows": str(sorted(row["id"] for row in rows))}


def _copy_run(material: Path, folder: Path) -> None:
    shutil.copytree(material / "run", folder)


def _copy_bundle(material: Path, folder: Path) -> None:
    from tests.tiny import write_bundle_with_references

    folder.mkdir()
    write_bundle_with_references(folder / "bundle")


JOBS = {
    "train": Job(_train, _run_verdict, _run_result),
    "folds": Job(_folds, _run_verdict, _run_result),
    "shrink": Job(_shrink, _run_verdict, _run_result),
    "export": Job(
        lambda material, folder: ["export", "--run", folder, *_EXPORT], _bundle_verdict, _exported_result, _copy_run
    ),
    "audit": Job(
        lambda material, folder: [
            *("audit", material / "data", "--json", folder / "audit.json", "--html", folder / "audit.html"),
        ],
        _records_verdict,
        _audit_result,
    ),
    "bench": Job(
        lambda material, folder: [
            *("bench", "--bundle", folder / "bundle", "--quick", "--runtime", "onnx", "--json", folder / "bench.json"),
        ],
        _records_verdict,
        _bench_result,
        _copy_bundle,
    ),
}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@dataclass
class _Moment:
    """When a child is killed: after some seconds, or before a change of its folder, by its number."""

    seconds: float | None = None
    change: int | None = None


class Killer:
    """Forks the children of one job."""

    def __init__(self, job: Job, material: Path, is_full: bool) -> None:
        self._job, self._material, self._is_full = job, material, is_full

    def start(self, folder: Path, moment: _Moment) -> tuple[int, float, int]:
        """The wait status of one child, its seconds, and how many changes it made where it ended by itself."""
        reader, writer = os.pipe()
        begin = time.monotonic()
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = self._work(folder, moment, writer)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(status)
        os.close(writer)
        if moment.seconds is not None:
            with contextlib.suppress(ProcessLookupError):
                self._kill_later(child, moment.seconds)
        else:
            os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        _, status = os.waitpid(child, 0)
        with os.fdopen(reader) as pipe:
            changes = pipe.read()
        return status, time.monotonic() - begin, int(changes or 0)

    def _kill_later(self, child: int, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None:
                return
            time.sleep(0.005)
        os.kill(child, signal.SIGKILL)

    def _work(self, folder: Path, moment: _Moment, writer: int) -> int:
        changes = 0

        def hear(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal changes
            writes = event in _CHANGES or (event == "open" and bool(int(arguments[2] or 0) & 3))  # type: ignore[call-overload]
            if writes and str(arguments[0]).startswith(str(folder)):
                changes += 1
                if changes == moment.change:
                    os.kill(os.getpid(), signal.SIGKILL)

        with (folder.parent / f"{folder.name}.log").open("a") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        from tests.conftest import ANY_GATE, type_command

        with pytest.MonkeyPatch.context() as patch:
            if not self._is_full and self._job in (JOBS["train"], JOBS["folds"], JOBS["export"]):
                from tests.small_network import use_small_network

                use_small_network(patch)
            arguments = self._job.arguments(self._material, folder)
            more = ANY_GATE if arguments[0] == "export" else ()
            sys.addaudithook(hear)
            status = type_command([str(argument) for argument in (*arguments, *more)])
        os.write(writer, str(changes).encode())
        return status

    def prepare(self, folder: Path) -> Path:
        self._job.prepare(self._material, folder)
        return folder


def kill(name: str, folder: Path, kills: int, seed: int, is_full: bool) -> dict[str, object]:
    """Kill a job so many times: what each kill left, how often the job then ended, and which results differed."""
    os.environ["CXR_EDGE_CACHE"] = str(folder / "cache")
    killer, job, rng = Killer(JOBS[name], folder, is_full), JOBS[name], random.Random(seed)
    whole = killer.prepare(folder / "whole")
    status, seconds, changes = killer.start(whole, _Moment())
    assert status == 0, (folder / "whole.log").read_text()[-2000:]
    expected, left, killed, ended, differing = job.result(whole), Counter[str](), 0, 0, Counter[str]()
    current = killer.prepare(folder / "0")
    while killed < kills or current is not None:
        moment = _Moment()
        if killed < kills:
            by_time = rng.random() < 0.5
            moment = _Moment(rng.uniform(0, seconds)) if by_time else _Moment(None, rng.randint(1, max(changes, 1)))
        status, _, _ = killer.start(current, moment)
        if os.WIFSIGNALED(status):
            killed += 1
            left[job.verdict(current)] += 1
            print(killed, dict(left), ended, dict(differing), file=sys.stderr, flush=True)
            continue
        # A training that was killed after its model was on the disk has nothing to resume.
        is_over = name in ("train", "shrink") and (current / "model.h5").exists()
        assert status == 0 or is_over, (folder / f"{current.name}.log").read_text()[-2000:]
        ended += 1
        result = job.result(current)
        differing.update(path for path in {*expected, *result} if expected.get(path) != result.get(path))
        shutil.rmtree(current)
        current = killer.prepare(folder / str(ended)) if killed < kills else None  # type: ignore[assignment]
    return {
        "kills": killed, "left": left, "ended": ended, "differing": differing,
        "seconds": round(seconds, 1), "changes": changes,
    }  # fmt: skip


def _material(name: str, folder: Path, is_full: bool) -> None:
    """Images, and a finished run where one is needed; what does not start TensorFlow in this process."""
    from cxr_edge.phantoms.data_set import write_phantoms

    os.environ["CXR_EDGE_CACHE"] = str(folder / "cache")
    write_phantoms(folder / "data", 10, size=80)
    if name in ("export", "shrink"):
        trained = Killer(JOBS["train"], folder, is_full)
        assert trained.start(trained.prepare(folder / "run"), _Moment())[0] == 0, (folder / "run.log").read_text()


def _import_what_takes_long(name: str) -> None:
    """But for what starts threads, which a fork would lose."""
    os.environ["TF_USE_LEGACY_KERAS"] = "1"
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    if name in ("train", "folds", "shrink", "export"):
        import tensorflow  # noqa: F401
        import tf_keras  # noqa: F401
    else:
        import scipy.optimize  # noqa: F401
        import sklearn.linear_model  # noqa: F401


if __name__ == "__main__":
    job, place, count, number = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    _import_what_takes_long(job)
    _material(job, place, "full" in sys.argv)
    print(json.dumps(kill(job, place, count, number, "full" in sys.argv)))
