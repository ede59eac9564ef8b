"""Damaged files through this project, in a process of their own: `python -m tests.fuzzing KIND FOLDER SEED COUNT`.

Prints what was refused and what was read, and each case that ended in anything but an error of this project, took too
long, or took too much memory, with its number, by which it can be made again.
"""

from __future__ import annotations

import json
import random
import resource
import shutil
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cxr_edge import Classifier
from cxr_edge.artifacts.bundle import MANIFEST
from cxr_edge.errors import CxrEdgeError, first_line
from cxr_edge.evaluation.replay import replay
from cxr_edge.evaluation.scoring import require_probabilities
from cxr_edge.files import sha256_of
from cxr_edge.imaging.decode import load_image
from cxr_edge.inspection.inspect import inspect
from cxr_edge.phantoms.drawing import draw_phantom
from cxr_edge.runtimes.base import runtimes_for
from cxr_edge.runtimes.selection import artifacts_of_bundle
from cxr_edge.runtimes.trial import Trial
from tests.mutation import mutated

#: Of one case: seconds, and of the whole process beyond what it had after the first: bytes.
SECONDS, MEMORY = 10, 1 << 30

REFUSED, READ, OTHER = "refused", "read", "unlike what it was"
Case = Callable[[Path, random.Random], str]


def image(folder: Path, rng: random.Random) -> str:
    source = rng.choice(sorted((folder / "images").iterdir()))
    path = folder / f"damaged{source.suffix}"
    path.write_bytes(mutated(source.read_bytes(), rng))
    pixels = load_image(path, 71)
    assert pixels.shape == (71, 71) and pixels.dtype == np.uint8
    return READ


def _bundle(folder: Path) -> Path:
    shutil.rmtree(folder / "damaged", ignore_errors=True)
    return Path(shutil.copytree(folder / "bundle", folder / "damaged"))


def bundle_with_wrong_hashes(folder: Path, rng: random.Random) -> str:
    """A file of a bundle is damaged: if anything answers, it is what was there before."""
    bundle = _bundle(folder)
    path = bundle / rng.choice([MANIFEST, "reference.npz", "xception-int8.onnx", "xception-int8.tflite"])
    before = path.read_bytes()
    path.write_bytes(mutated(before, rng))
    if path.read_bytes() == before:
        return READ
    opened = Classifier.open(bundle, rng.choice(["onnx", "litert"]), 1)
    grey = draw_phantom("Normal", 0, 71).pixels
    same = opened.predict(grey)[0].probabilities == _undamaged(folder, opened.runtime.extra, grey)
    return READ if same else OTHER


_ANSWERS: dict[str, tuple[float, ...]] = {}


def _undamaged(folder: Path, runtime: str, grey: np.ndarray) -> tuple[float, ...]:
    if runtime not in _ANSWERS:
        _ANSWERS[runtime] = Classifier.open(folder / "bundle", runtime, 1).predict(grey)[0].probabilities
    return _ANSWERS[runtime]


def bundle_with_right_hashes(folder: Path, rng: random.Random) -> str:
    """An artifact is damaged, and the manifest says so of it: it is refused, fails its replay, or computes the same."""
    bundle = _bundle(folder)
    path = bundle / rng.choice(["xception-int8.onnx", "xception-int8.tflite"])
    before = sha256_of(path)
    path.write_bytes(mutated(path.read_bytes(), rng))
    text = (bundle / MANIFEST).read_text().replace(before, sha256_of(path))
    (bundle / MANIFEST).write_text(text)
    inspect(path)
    for row in replay(artifacts_of_bundle(bundle), runtimes_for(path.suffix[1:])[:1], 1).results:
        if row.verdict != "passed":
            return REFUSED
    return READ


def loose(folder: Path, rng: random.Random) -> str:
    """A file by itself."""
    source = folder / "bundle" / rng.choice(["xception-int8.onnx", "xception-int8.tflite"])
    path = folder / f"loose{source.suffix}"
    path.write_bytes(mutated(source.read_bytes(), rng))
    session = runtimes_for(path.suffix[1:])[0].load(path, 1)
    try:
        answers = session.run(np.zeros((1, 71, 71, 1), np.uint8))
    except Exception as error:
        # What `prediction.guard` catches: the errors of the runtimes have no class of their own.
        raise CxrEdgeError(first_line(error)) from None
    require_probabilities(answers, path, 3)
    return READ


CASES: dict[str, Case] = {
    "image": image,
    "wrong-hashes": bundle_with_wrong_hashes,
    "right-hashes": bundle_with_right_hashes,
    "loose": loose,
}


@contextmanager
def limited_time() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"more than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    # Of this process, whatever else the machine does.
    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def fuzz(case: Case, folder: Path, seed: int, count: int) -> tuple[Counter[str], list[str]]:
    outcomes: Counter[str] = Counter()
    faults: list[str] = []
    peak = 0
    for number in range(count):
        print(number, file=sys.stderr, flush=True)
        try:
            with limited_time():
                outcome = case(folder, random.Random(f"{seed} {number}"))
        except CxrEdgeError as error:
            outcome = REFUSED
            if "\n" in str(error):
                faults.append(f"{number}: more than one line: {error}")
        except Exception:
            faults.append(f"{number}: {traceback.format_exc()[-600:]}")
            continue
        outcomes[outcome] += 1
        if outcome == OTHER:
            faults.append(f"{number}: a damaged bundle answered, but differently from the undamaged one")
        if number == 0:
            peak = _peak()
    if count and _peak() - peak > MEMORY:
        faults.append(f"{(_peak() - peak) >> 20} MiB more than after the first case")
    return outcomes, faults


if __name__ == "__main__":
    # What is tried in another process first would hide a crash.
    Trial.require_known = lambda self, path, runtime, sha256=None: None  # type: ignore[method-assign]
    outcomes, faults = fuzz(CASES[sys.argv[1]], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print(json.dumps([outcomes, faults]))
